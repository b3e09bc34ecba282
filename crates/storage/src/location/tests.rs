//! Every way of writing a location, what it means, and what a mistake is answered with.

use super::*;

fn bucket(service: BucketService, bucket: &str, prefix: &str, options: &[(&str, &str)]) -> Location {
    let options = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Location::Bucket(BucketLocation {
        service,
        bucket: bucket.to_owned(),
        prefix: prefix.to_owned(),
        options,
    })
}

fn webdav(server: &str, path: &str, user: Option<&str>) -> Location {
    Location::Webdav(WebdavLocation {
        server: server.to_owned(),
        path: path.to_owned(),
        user: user.map(str::to_owned),
    })
}

fn drive(service: DriveService, path: &str, login: Option<&str>) -> Location {
    Location::Drive(DriveLocation { service, path: path.to_owned(), login: login.map(str::to_owned) })
}

fn rclone(remote: &str, path: &str) -> Location {
    Location::Rclone(RcloneLocation { remote: remote.to_owned(), path: path.to_owned() })
}

fn removable(uuid: &str, path: &str, mount: bool) -> Location {
    Location::Removable(RemovableLocation { uuid: uuid.to_owned(), path: path.to_owned(), mount })
}

#[test]
fn locations_are_read() {
    use BucketService::{Azblob, B2, Gcs, S3};
    let local = |path: &str| Location::Local(path.into());
    let cases = [
        ("/mnt/usb/backup", local("/mnt/usb/backup")),
        ("backup", local("backup")),
        ("./nas:/x", local("./nas:/x")),
        ("C:/x", local("C:/x")),
        ("file:///a%20b", local("/a b")),
        ("file://localhost/a", local("/a")),
        ("s3://bucket", bucket(S3, "bucket", "", &[])),
        ("s3://bucket/a//b/", bucket(S3, "bucket", "a/b", &[])),
        (
            "s3://bucket/a?endpoint=http%3A%2F%2F127.0.0.1:9000&region=eu-1",
            bucket(S3, "bucket", "a", &[("endpoint", "http://127.0.0.1:9000"), ("region", "eu-1")]),
        ),
        ("s3:https://h:9000/bucket/a", bucket(S3, "bucket", "a", &[("endpoint", "https://h:9000")])),
        ("s3:s3.amazonaws.com/bucket", bucket(S3, "bucket", "", &[("endpoint", "https://s3.amazonaws.com")])),
        (
            "s3:http://h/bucket/a?region=x",
            bucket(S3, "bucket", "a", &[("endpoint", "http://h"), ("region", "x")]),
        ),
        ("gs:bucket:/a/b", bucket(Gcs, "bucket", "a/b", &[])),
        ("gs://bucket/a", bucket(Gcs, "bucket", "a", &[])),
        ("gcs://bucket/a", bucket(Gcs, "bucket", "a", &[])),
        ("azure:box:/a", bucket(Azblob, "box", "a", &[])),
        ("azblob://box/a?account=me", bucket(Azblob, "box", "a", &[("account", "me")])),
        ("b2:bucket:a/b", bucket(B2, "bucket", "a/b", &[])),
        ("b2://bucket?bucket-id=4a4a", bucket(B2, "bucket", "", &[("bucket-id", "4a4a")])),
        ("gdrive://a/b%20c", drive(DriveService::Gdrive, "a/b c", None)),
        ("dropbox://a?login=work", drive(DriveService::Dropbox, "a", Some("work"))),
        ("onedrive://a/", drive(DriveService::Onedrive, "a", None)),
        ("rclone:my disk:a/b/", rclone("my disk", "a/b")),
        ("rclone:x:", rclone("x", "")),
        ("removable:3F1C-77aa/a%20b", removable("3f1c-77aa", "a b", false)),
        ("removable:3f1c-77aa?mount=yes", removable("3f1c-77aa", "", true)),
        ("webdav://h:81/a/b/", webdav("http://h:81", "a/b", None)),
        ("webdavs://me%40home@h/a%20b", webdav("https://h", "a b", Some("me@home"))),
    ];
    for (text, wanted) in cases {
        let read = Location::parse(text).unwrap();
        assert_eq!(read, wanted, "{text}");
        assert_eq!(Location::parse(&read.to_string()).unwrap(), wanted, "{text} is {read}");
    }
}

#[test]
fn mistakes_are_answered_with_what_was_probably_meant() {
    let cases = [
        ("", "it is empty"),
        ("s3://localhost:9000/bucket/a", "did you mean s3:https://localhost:9000/bucket/a"),
        (
            "s3://s3.eu-west-1.amazonaws.com/bucket",
            "did you mean s3:https://s3.eu-west-1.amazonaws.com/bucket",
        ),
        ("s3:https://bucket", "the bucket is missing"),
        ("s3:bucket", "did you mean s3://bucket?"),
        ("s3:ftp://h/b", "http://, https:// or a host"),
        (
            "s3://bucket?endpont=x",
            "has no option \"endpont\"; there are addressing, checksum, endpoint, region",
        ),
        ("s3://bucket?endpoint=h:9000", "did you mean endpoint=https://h:9000?"),
        ("s3://bucket?addressing=dns", "one of path, virtual"),
        ("s3://bucket?region=a&region=b", "given twice"),
        ("s3://bucket?region=", "has no value"),
        ("s3://", "the bucket is missing"),
        ("s3://bucket/../x", "must not contain . or .."),
        ("S3://bucket", "schemes are in lower case: s3://"),
        ("s3a://bucket/x", "did you mean s3://bucket/x?"),
        ("https://h/x", "did you mean webdavs://h/x or s3:https://h/x?"),
        ("dav://h/x", "did you mean webdav://h/x?"),
        ("ssh://h/x", "did you mean sftp://h/x?"),
        ("ftp://h/x", "no such scheme ftp://"),
        ("rest:http://h/", "there are no rest: repositories"),
        ("rclone:x", "rclone:x:PATH"),
        ("rclone::s3,access_key=x:y", "rclone listremotes"),
        ("rclone:a,b=c:y", "no name of a remote"),
        ("rclone:-x:y", "no name of a remote"),
        ("rclone:x:../y", "must not contain"),
        ("rclone://x/y", "rclone:x:y"),
        ("removable:zz/x", "lsblk"),
        ("removable://3f1c-77aa/x", "removable:3f1c-77aa/x"),
        ("removable:3f1c-77aa/x?mount=maybe", "mount=yes"),
        ("gdrive://", "name a folder"),
        ("gdrive://me@example.com/x", "login=NAME"),
        ("dropbox://x?login=../y", "letters"),
        ("onedrive://x?account=y", "there is login"),
        ("me@nas:/x", "did you mean sftp:me@nas:/x? a local folder of that name is written ./me@nas:/x"),
        ("nas:/x", "did you mean sftp:nas:/x?"),
        ("file://x/y", "did you mean x/y or file:///x/y?"),
        ("webdav:///x", "the host is missing"),
        ("webdav://h/%zz", "a % needs two hex digits"),
    ];
    for (text, wanted) in cases {
        let error = Location::parse(text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{text}");
        let why = std::error::Error::source(&error).unwrap().to_string();
        assert!(why.contains(wanted), "{text}: {why}");
    }
}

#[test]
fn secrets_are_refused_and_never_shown() {
    for text in [
        "webdav://me:hunter2@h/x",
        "webdavs://me:hunter2@h",
        "s3://key:hunter2@bucket/x",
        "s3:https://key:hunter2@h/bucket",
        "s3://bucket?endpoint=https://key:hunter2@h",
        "https://me:hunter2@h/x",
        "sftp://me:hunter2@h/x",
        "gcs://me:hunter2@bucket",
    ] {
        let error = Location::parse(text).unwrap_err();
        let why = std::error::Error::source(&error).unwrap().to_string();
        let shown = format!("{error} {why}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
