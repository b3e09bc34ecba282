//! Commands as a shell takes them: quoting, and how the program is fetched from beside a copy.

use super::{PlanPlace, Program};
use std::fmt::Write;
use std::path::Path;
use storage::{BucketService, Location};

/// A word as any POSIX shell takes it. What could steer a terminal or end a line is written in octal, so that it
/// can be printed, read aloud and typed; the shell still gets the same bytes.
pub fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:@%+=,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_string();
    }
    if crate::display::safe(text) == text {
        return format!("'{}'", text.replace('\'', r"'\''"));
    }
    let body = text.trim_end_matches('\n');
    let mut octal = String::new();
    for byte in body.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'_' | b' ' => {
                octal.push(char::from(byte))
            }
            byte => write!(octal, "\\{byte:03o}").expect("strings grow"),
        }
    }
    // A substitution drops the line ends at its end; the third character of IFS is one.
    let ends = "${IFS#??}".repeat(text.len() - body.len());
    format!("\"$(printf '{octal}'){ends}\"")
}

/// The folder or name of something beside what a path names.
fn join(path: &str, more: &str) -> String {
    match path.trim_end_matches('/') {
        "" => format!("/{more}"),
        path => format!("{path}/{more}"),
    }
}

/// What a machine needs besides the key to reach a place; `user` is whom the configuration names for it.
pub fn login(at: &Location, user: Option<&str>) -> Option<String> {
    Some(match at {
        Location::Local(_) => return None,
        Location::Removable(place) => format!("the drive with the file system {}", place.uuid),
        #[cfg(feature = "sftp")]
        Location::Sftp(place) => {
            let user = place.user.clone().unwrap_or_else(|| "the account".into());
            format!("the SSH key or password of {user} at {}", place.host)
        }
        Location::Bucket(bucket) => match bucket.service {
            BucketService::S3 => {
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY of the account in the environment".into()
            }
            other => format!("the access key of the {} account in the environment", other.scheme()),
        },
        Location::Webdav(place) => {
            let user = user.map(str::to_string).or_else(|| place.user.clone());
            format!(
                "LIFEBOAT_WEBDAV_USER{} and LIFEBOAT_WEBDAV_PASSWORD in the environment",
                user.map(|user| format!(" ({user})")).unwrap_or_default()
            )
        }
        Location::Drive(_) => "a login: lifeboat repo connect".into(),
        Location::Rclone(place) => format!("rclone, with its remote {}", place.remote),
    })
}

/// The commands that mount the drive of a place, where it is known by its file system.
pub(super) fn mount(place: &PlanPlace) -> Option<Vec<String>> {
    let Some(Location::Removable(drive)) = &place.at else { return None };
    let (uuid, folder) = (quoted(&drive.uuid), quoted(&format!("/mnt/lifeboat-{}", place.name)));
    Some(vec![format!("mkdir -p {folder}"), format!("findmnt -n UUID={uuid} || mount UUID={uuid} {folder}")])
}

/// The commands that fetch a file from beside a copy; none where only the provider's own page does it.
fn fetch(place: &PlanPlace, file: &str) -> Option<Vec<String>> {
    let tool = format!("tools/{file}");
    let one = |command: String| Some(vec![command]);
    match place.at.as_ref()? {
        Location::Local(path) => {
            one(format!("cp {} lifeboat", quoted(&join(&path.to_string_lossy(), &tool))))
        }
        Location::Removable(drive) => one(format!(
            "cp \"$(findmnt -f -n -o TARGET UUID={})\"{} lifeboat",
            quoted(&drive.uuid),
            quoted(&join(&join("", &drive.path), &tool))
        )),
        #[cfg(feature = "sftp")]
        Location::Sftp(server) => {
            let user = server.user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
            let port = server.port.map(|port| format!("-P {port} ")).unwrap_or_default();
            let host =
                if server.host.contains(':') { format!("[{}]", server.host) } else { server.host.clone() };
            let path = if server.path.is_empty() { tool } else { join(&server.path, &tool) };
            one(format!("scp {port}{} lifeboat", quoted(&format!("{user}{host}:{path}"))))
        }
        Location::Bucket(bucket) if bucket.service == BucketService::S3 => {
            let key = if bucket.prefix.is_empty() { tool } else { format!("{}/{tool}", bucket.prefix) };
            let endpoint = bucket.options.get("endpoint").map(|e| format!(" --endpoint-url {}", quoted(e)));
            one(format!(
                "aws s3 cp {} lifeboat{}",
                quoted(&format!("s3://{}/{key}", bucket.bucket)),
                endpoint.unwrap_or_default()
            ))
        }
        Location::Webdav(server) => {
            let path = if server.path.is_empty() { tool } else { format!("{}/{tool}", server.path) };
            one(format!(
                "curl -fL -u \"$LIFEBOAT_WEBDAV_USER:$LIFEBOAT_WEBDAV_PASSWORD\" -o lifeboat {}",
                quoted(&format!("{}/{path}", server.server))
            ))
        }
        Location::Rclone(remote) => {
            let path = if remote.path.is_empty() { tool } else { join(&remote.path, &tool) };
            one(format!("rclone copyto {} lifeboat", quoted(&format!("{}:{path}", remote.remote))))
        }
        Location::Bucket(_) | Location::Drive(_) => None,
    }
}

/// How the program comes onto a machine that has nothing: a sentence, and its commands.
pub(super) fn program(place: &PlanPlace, program: Option<&Program>) -> (String, Vec<String>) {
    let Some(program) = program else {
        let say = format!(
            "Get the program lifeboat, version {} or later, and put it where programs are.",
            env!("CARGO_PKG_VERSION")
        );
        return (say, Vec::new());
    };
    let mut commands = fetch(place, &program.file).unwrap_or_default();
    let say = match commands.is_empty() {
        true => format!(
            "Download the file tools/{} that lies beside the copy, by the provider's own page, as the file lifeboat. \
             It must have this hash.",
            program.file
        ),
        false => {
            "Fetch the program that lies beside the copy, and make sure that it is the right one.".into()
        }
    };
    commands.push(format!("echo '{}  lifeboat' | sha256sum -c", program.sha256));
    commands.push("chmod +x lifeboat".into());
    (say, commands)
}

/// How it is called where it was fetched, or is installed.
pub(super) fn called(program: Option<&Program>) -> &'static str {
    if program.is_some() { "./lifeboat" } else { "lifeboat" }
}

/// A path as a word.
pub(super) fn path(path: &Path) -> String {
    quoted(&path.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_shell_gets_back_every_name_whatever_is_in_it() {
        for name in [
            "/srv/plain",
            "two words",
            "it's",
            "$(touch /tmp/x)`id`",
            "a\nb",
            "ends\n",
            "two\n\n",
            "\u{1b}[31mred",
            "\u{202e}gpj",
            "%s\\n%%",
            "-n",
            "",
            "ä\u{7f}'\"",
            "\t",
            "~",
            "a*b?[c]",
            "#x",
            "a=b;c&d|e>f",
        ] {
            let word = quoted(name);
            assert!(!word.chars().any(char::is_control), "{word:?}");
            let said = Command::new("sh").args(["-c", &format!("printf '%s.' {word}")]).output().unwrap();
            assert_eq!(String::from_utf8(said.stdout).unwrap(), format!("{name}."), "{word}");
        }
    }
}
