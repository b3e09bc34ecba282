//! From `[repositories.NAME]` to a place that can be opened.

use super::load::full_path;
use super::places::Repository;
use crate::credentials;
use crate::environment::Environment;
use crate::failure::Outcome;
use crate::folders::Folders;
use crate::open::Place;
use crate::secrets;
use repo::Credential;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::Arc;
use storage::{BucketService, Location, ThrottleOptions};
use zeroize::Zeroizing;

/// The place of a repository. Secrets of its login are found now, what unlocks it only when it is opened.
pub fn place(
    name: &str,
    repository: &Repository,
    environment: &Environment,
    folders: &Folders,
) -> Outcome<Place> {
    let location = location(repository, folders)?;
    let login = login(name, repository, &location, environment, folders)?;
    let limits = &repository.limits;
    Ok(Place {
        throttle: ThrottleOptions {
            upload_bytes_per_s: limits.upload.map(|rate| rate.0),
            download_bytes_per_s: limits.download.map(|rate| rate.0),
            requests_per_s: limits.requests.map(u64::from),
        },
        unlock: unlock(name, repository, environment, folders),
        login,
        known_hosts: repository
            .ssh
            .as_ref()
            .and_then(|ssh| ssh.known_hosts.as_ref())
            .map(|path| full_path(&folders.home, &path.to_string_lossy())),
        connections: limits.connections.map(|n| n as usize),
        retry_for: Some(repository.retry_for.0),
        thaw: repository.thaw.clone(),
        own_key_instead: repository.key_file.is_none(),
        ..Place::at(location)
    })
}

/// Looks for what unlocks in several places, one after the other.
pub fn first_of(unlocks: Vec<crate::open::Unlock>) -> crate::open::Unlock {
    Arc::new(move || {
        for unlock in &unlocks {
            if let Some(credential) = unlock()? {
                return Ok(Some(credential));
            }
        }
        Ok(None)
    })
}

/// Where a repository is; `~` is the home folder.
pub fn location(repository: &Repository, folders: &Folders) -> Outcome<Location> {
    let location = Location::parse(&repository.url)?;
    if let Some(class) = &repository.storage_class {
        return Ok(location.with_storage_class(class)?);
    }
    Ok(match location {
        Location::Local(path) => Location::Local(full_path(&folders.home, &path.to_string_lossy())),
        other => other,
    })
}

fn unlock(
    name: &str,
    repository: &Repository,
    environment: &Environment,
    folders: &Folders,
) -> crate::open::Unlock {
    let what = format!("the password of repository {name}");
    let (password, key_file) = (repository.password.clone(), repository.key_file.clone());
    let (environment, home) = (environment.clone(), folders.home.clone());
    Arc::new(move || {
        if let Some(path) = &key_file {
            let path = full_path(&home, &path.to_string_lossy());
            return credentials::read_key(&path).map(|key| Some(Credential::Random(key)));
        }
        let password = password.as_ref().map(|secret| secrets::find(secret, &what, &environment, &home));
        Ok(password.transpose()?.map(credentials::password_of))
    })
}

/// The login under the names that stores look for.
fn login(
    name: &str,
    repository: &Repository,
    location: &Location,
    environment: &Environment,
    folders: &Folders,
) -> Outcome<Environment> {
    let (id, key) = match location {
        Location::Bucket(bucket) => match bucket.service {
            BucketService::S3 => ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
            BucketService::Azblob => ("AZURE_ACCOUNT_NAME", "AZURE_ACCOUNT_KEY"),
            BucketService::B2 => ("B2_ACCOUNT_ID", "B2_ACCOUNT_KEY"),
            BucketService::Gcs => ("GOOGLE_CLIENT_EMAIL", "GOOGLE_ACCESS_TOKEN"),
        },
        _ => ("", ""),
    };
    let ssh = repository.ssh.clone().unwrap_or_default();
    let secrets = [
        (id, &repository.access_key, "access_key"),
        (key, &repository.secret_key, "secret_key"),
        ("LIFEBOAT_WEBDAV_PASSWORD", &repository.user_password, "user_password"),
        ("LIFEBOAT_SFTP_PASSWORD", &ssh.password, "ssh.password"),
        ("LIFEBOAT_SFTP_KEY_PASSPHRASE", &ssh.passphrase, "ssh.passphrase"),
    ];
    let mut known: BTreeMap<String, Zeroizing<String>> = BTreeMap::new();
    for (variable, secret, key) in secrets {
        let Some(secret) = secret.as_ref().filter(|_| !variable.is_empty()) else { continue };
        let what = format!("repositories.{name}.{key}");
        known.insert(variable.to_string(), secrets::find(secret, &what, environment, &folders.home)?);
    }
    if let Some(user) = &repository.user {
        known.insert("LIFEBOAT_WEBDAV_USER".into(), Zeroizing::new(user.clone()));
    }
    if let Some(path) = &ssh.key {
        let path = full_path(&folders.home, &path.to_string_lossy());
        known.insert("LIFEBOAT_SFTP_KEY_FILE".into(), Zeroizing::new(path.to_string_lossy().into_owned()));
    }
    Ok(Environment::new(move |name| known.get(name).map(|text| OsString::from(text.as_str()))))
}
