//! Turns a location and the environment's credentials into an OpenDAL operator.
//!
//! Knows the names under which people already keep their keys: those of AWS, Google, Azure and B2, as
//! restic takes them, and two of our own for WebDAV. Without keys for S3, Google and Azure the usual
//! chain of those services is asked: their configuration files and the identity of the machine. Drives have
//! a login instead, which is no matter of the operator: see `bearer`.

use super::bearer::PLACEHOLDER;
use super::errors;
use crate::oauth::{KeepLogin, Login};
use crate::{
    BucketLocation, BucketService, DriveLocation, DriveService, ErrorKind, Location, Lookup, RemoteOptions,
    StoreError, StoreResult, WebdavLocation,
};
use opendal::{Builder, Operator, services};
use std::sync::Arc;

/// Name of the variable with the WebDAV user.
pub(super) const WEBDAV_USER: &str = "LIFEBOAT_WEBDAV_USER";
/// Name of the variable with the WebDAV password.
pub(crate) const WEBDAV_PASSWORD: &str = "LIFEBOAT_WEBDAV_PASSWORD";

/// The first of `names` that is set.
fn first_of(lookup: Lookup<'_>, names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| lookup(name).filter(|value| !value.is_empty()))
}

/// Makes the operator of a remote location.
pub(super) fn operator(location: &Location, lookup: Lookup<'_>) -> StoreResult<Operator> {
    match location {
        Location::Bucket(bucket) => match bucket.service {
            BucketService::S3 => build(location, s3(bucket, lookup, None)?),
            BucketService::Gcs => build(location, gcs(bucket, lookup)),
            BucketService::Azblob => build(location, azblob(bucket, lookup)?),
            BucketService::B2 => build(location, b2(bucket, lookup)?),
        },
        Location::Webdav(webdav) => build(location, self::webdav(webdav, lookup)),
        Location::Drive(drive) => drive_operator(drive.service, &drive.path)
            .map_err(|error| errors::failed(format!("open {location}"), &error)),
        _ => Err(StoreError::new(ErrorKind::Config, format!("open {location} as a remote place"))),
    }
}

/// The operator that stores in the location's storage class, if it names one.
pub(super) fn cold_operator(location: &Location, lookup: Lookup<'_>) -> StoreResult<Option<Operator>> {
    match location {
        Location::Bucket(bucket) => match bucket.storage_class() {
            class @ Some(_) => build(location, s3(bucket, lookup, class)?).map(Some),
            None => Ok(None),
        },
        _ => Ok(None),
    }
}

fn build(location: &Location, builder: impl Builder) -> StoreResult<Operator> {
    Operator::new(builder).map_err(|error| errors::failed(format!("open {location}"), &error))
}

fn drive_operator(service: DriveService, root: &str) -> opendal::Result<Operator> {
    match service {
        DriveService::Gdrive => {
            Operator::new(services::Gdrive::default().root(root).access_token(PLACEHOLDER))
        }
        DriveService::Dropbox => {
            Operator::new(services::Dropbox::default().root(root).access_token(PLACEHOLDER))
        }
        DriveService::Onedrive => {
            Operator::new(services::Onedrive::default().root(root).access_token(PLACEHOLDER))
        }
    }
}

/// An operator for the same Google Drive that remembers nothing.
pub(super) fn fresh(known: &Operator) -> StoreResult<Operator> {
    let made = drive_operator(DriveService::Gdrive, &known.info().root());
    let made = made.map_err(|error| errors::failed("ask the drive".to_owned(), &error))?;
    Ok(made.with_context(known.context().clone()))
}

/// Who keeps the login of a drive.
pub(super) fn login_keeper(
    drive: &DriveLocation,
    options: &RemoteOptions<'_>,
) -> StoreResult<Arc<dyn KeepLogin>> {
    options.logins.and_then(|logins| logins(drive)).ok_or_else(|| no_login(drive))
}

fn no_login(drive: &DriveLocation) -> StoreError {
    let service = drive.service;
    let name = drive.login.as_ref().map(|name| format!(" --login {name}")).unwrap_or_default();
    let why = format!(
        "no login for {} is kept here; get one with: lifeboat repo connect {}{name}",
        service.shown(),
        service.scheme()
    );
    StoreError::new(ErrorKind::Config, format!("open {drive}")).because(why)
}

/// The login itself.
pub(super) fn login(drive: &DriveLocation, keeper: &dyn KeepLogin) -> StoreResult<Login> {
    let login = keeper.read()?;
    if login.service != drive.service.scheme() {
        let why = format!("the login in {} is for {}", keeper.shown(), login.service);
        return Err(StoreError::new(ErrorKind::Config, format!("open {drive}")).because(why));
    }
    Ok(login)
}

fn missing(location: &BucketLocation, what: &str) -> StoreError {
    StoreError::new(ErrorKind::Config, format!("open {location}")).because(what)
}

fn option(location: &BucketLocation, key: &str) -> Option<String> {
    location.options.get(key).cloned()
}

fn s3(location: &BucketLocation, lookup: Lookup<'_>, class: Option<&str>) -> StoreResult<services::S3> {
    let env = |names: &[&str]| first_of(lookup, names);
    let endpoint = option(location, "endpoint").or_else(|| env(&["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]));
    let region = option(location, "region").or_else(|| env(&["AWS_REGION", "AWS_DEFAULT_REGION"]));
    // Amazon's first region is also what most other servers take for any name.
    let region = region.unwrap_or_else(|| "us-east-1".to_owned());
    let mut builder = services::S3::default().bucket(&location.bucket).root(&location.prefix).region(&region);
    if let Some(class) = class {
        builder = builder.default_storage_class(class);
    }
    if let Some(endpoint) = &endpoint {
        builder = builder.endpoint(endpoint);
    }
    // Amazon asks for the bucket in the host name, other servers often have no such host names.
    let virtual_host = option(location, "addressing").map_or(endpoint.is_none(), |way| way == "virtual");
    if virtual_host && !location.bucket.contains('.') {
        builder = builder.enable_virtual_host_style();
    }
    if let Some(checksum) = option(location, "checksum") {
        builder = builder.checksum_algorithm(&checksum);
    }
    match (env(&["AWS_ACCESS_KEY_ID"]), env(&["AWS_SECRET_ACCESS_KEY"])) {
        (Some(id), Some(secret)) => {
            builder = builder.access_key_id(&id).secret_access_key(&secret).disable_config_load();
            if let Some(token) = env(&["AWS_SESSION_TOKEN"]) {
                builder = builder.session_token(&token);
            }
            Ok(builder.disable_ec2_metadata())
        }
        (None, None) => {
            if let Some(profile) = env(&["AWS_PROFILE"]) {
                builder = builder.profile(&profile);
            }
            // Asked for by `false`, as the AWS tools spell it: elsewhere the question only costs time.
            match env(&["AWS_EC2_METADATA_DISABLED"]).as_deref() {
                Some("false") => Ok(builder),
                _ => Ok(builder.disable_ec2_metadata()),
            }
        }
        _ => Err(missing(location, "of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY only one is set")),
    }
}

fn gcs(location: &BucketLocation, lookup: Lookup<'_>) -> services::Gcs {
    let mut builder = services::Gcs::default().bucket(&location.bucket).root(&location.prefix);
    if let Some(path) = first_of(lookup, &["GOOGLE_APPLICATION_CREDENTIALS"]) {
        builder = builder.credential_path(&path);
    }
    if let Some(token) = first_of(lookup, &["GOOGLE_ACCESS_TOKEN"]) {
        builder = builder.token(token);
    }
    // By this variable every Google tool is sent to an emulator, which wants no signature.
    if let Some(host) = first_of(lookup, &["STORAGE_EMULATOR_HOST"]) {
        let scheme = if host.contains("://") { "" } else { "http://" };
        return builder.endpoint(&format!("{scheme}{host}")).skip_signature();
    }
    match option(location, "endpoint") {
        Some(endpoint) => builder.endpoint(&endpoint),
        None => builder,
    }
}

fn azblob(location: &BucketLocation, lookup: Lookup<'_>) -> StoreResult<services::Azblob> {
    let env = |names: &[&str]| first_of(lookup, names);
    let account =
        option(location, "account").or_else(|| env(&["AZURE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT"]));
    let account = account.ok_or_else(|| missing(location, "AZURE_ACCOUNT_NAME is not set"))?;
    let suffix = env(&["AZURE_ENDPOINT_SUFFIX"]).unwrap_or_else(|| "core.windows.net".to_owned());
    let endpoint = option(location, "endpoint").unwrap_or_else(|| format!("https://{account}.blob.{suffix}"));
    let mut builder = services::Azblob::default()
        .container(&location.bucket)
        .root(&location.prefix)
        .endpoint(&endpoint)
        .account_name(&account);
    if let Some(key) = env(&["AZURE_ACCOUNT_KEY", "AZURE_STORAGE_KEY"]) {
        builder = builder.account_key(&key);
    } else if let Some(token) = env(&["AZURE_ACCOUNT_SAS", "AZURE_STORAGE_SAS_TOKEN"]) {
        builder = builder.sas_token(token.trim_start_matches('?'));
    }
    Ok(builder)
}

fn b2(location: &BucketLocation, lookup: Lookup<'_>) -> StoreResult<services::B2> {
    let env = |names: &[&str]| first_of(lookup, names);
    let id = env(&["B2_ACCOUNT_ID", "B2_APPLICATION_KEY_ID"]);
    let key = env(&["B2_ACCOUNT_KEY", "B2_APPLICATION_KEY"]);
    let bucket_id = option(location, "bucket-id").or_else(|| env(&["B2_BUCKET_ID"]));
    let (Some(id), Some(key)) = (id, key) else {
        return Err(missing(location, "B2_ACCOUNT_ID and B2_ACCOUNT_KEY are not both set"));
    };
    let bucket_id =
        bucket_id.ok_or_else(|| missing(location, "the id of the bucket is missing: ?bucket-id=..."))?;
    Ok(services::B2::default()
        .bucket(&location.bucket)
        .bucket_id(&bucket_id)
        .root(&location.prefix)
        .application_key_id(&id)
        .application_key(&key))
}

fn webdav(location: &WebdavLocation, lookup: Lookup<'_>) -> services::Webdav {
    let mut builder = services::Webdav::default().endpoint(&location.server).root(&location.path);
    if let Some(user) = location.user.clone().or_else(|| first_of(lookup, &[WEBDAV_USER])) {
        builder = builder.username(&user);
    }
    if let Some(password) = first_of(lookup, &[WEBDAV_PASSWORD]) {
        builder = builder.password(&password);
    }
    builder
}
