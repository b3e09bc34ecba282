//! A real OpenSSH server for tests: its own host keys, its own configuration, a loopback port.
//!
//! Every connection gets an `sshd -i` of its own, so that no port is raced for and a connection can be cut
//! at any time. Nothing of the machine's own SSH set-up is read. Tests that miss a program say so and pass,
//! unless LIFEBOAT_TEST_REQUIRE=all is set.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use storage::sftp::{HostKeyDecision, SftpLocation, SftpOptions};

/// Finds a program of OpenSSH, or says what is missing.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let folders =
        ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin", "/usr/lib/openssh", "/usr/libexec"];
    let found = folders.iter().map(|folder| Path::new(folder).join(name)).find(|path| path.is_file());
    if found.is_none() {
        let required = std::env::var("LIFEBOAT_TEST_REQUIRE").is_ok_and(|value| value == "all");
        assert!(!required, "missing: {name} of OpenSSH");
        say(&format!("not tested: {name} of OpenSSH is missing"));
    }
    found
}

/// Tells whoever reads the output of the tests.
#[expect(clippy::print_stderr, reason = "the output of a test is where a missing part is told")]
pub(crate) fn say(text: &str) {
    eprintln!("{text}");
}

/// Runs a program and insists on its success.
pub(crate) fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().expect("the program starts");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Makes a key pair.
pub(crate) fn make_key(file: &Path, kind: &str, passphrase: &str) {
    let mut command = Command::new("ssh-keygen");
    run(command.args(["-q", "-t", kind, "-C", "test", "-N", passphrase, "-f"]).arg(file));
}

/// A running server. Everything it knows lies in its folder.
pub(crate) struct Sshd {
    folder: tempfile::TempDir,
    pub(crate) port: u16,
    children: Arc<Mutex<Vec<Child>>>,
    accepted: Arc<AtomicUsize>,
}

impl Sshd {
    /// Starts a server, or `None` where OpenSSH is missing.
    pub(crate) fn start() -> Option<Self> {
        Self::start_with("", "internal-sftp")
    }

    /// As `start`, with more lines of configuration and another SFTP subsystem.
    pub(crate) fn start_with(lines: &str, subsystem: &str) -> Option<Self> {
        let sshd = program("sshd")?;
        program("ssh-keygen")?;
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        make_key(&at("host_ed25519"), "ed25519", "");
        make_key(&at("host_ecdsa"), "ecdsa", "");
        make_key(&at("user"), "ed25519", "");
        fs::copy(at("user.pub"), at("authorized_keys")).unwrap();
        let text = format!(
            "HostKey {0}/host_ed25519\nHostKey {0}/host_ecdsa\nAuthorizedKeysFile {0}/authorized_keys\n\
             StrictModes no\nUsePAM no\nPidFile none\nPasswordAuthentication no\n\
             KbdInteractiveAuthentication no\nLogLevel ERROR\nSubsystem sftp {subsystem}\n{lines}\n",
            folder.path().display()
        );
        fs::write(at("sshd_config"), text).unwrap();
        fs::create_dir(at("store")).unwrap();
        // Where sshd runs as root it wants this folder, which a boot makes elsewhere.
        let _ = fs::create_dir_all("/run/sshd");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (children, accepted) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
        let (adopted, counted, config) = (Arc::clone(&children), Arc::clone(&accepted), at("sshd_config"));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                counted.fetch_add(1, Ordering::SeqCst);
                adopted.lock().unwrap().push(serve(&sshd, &config, stream));
            }
        });
        Some(Self { folder, port, children, accepted })
    }

    /// A file in the server's folder.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// How many connections there were.
    pub(crate) fn connections(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// Kills every process that serves a connection.
    pub(crate) fn cut(&self) {
        for mut child in self.children.lock().unwrap().drain(..) {
            // Each is the leader of its group, so that its own children go with it.
            let _ = Command::new("kill").args(["-KILL", "--"]).arg(format!("-{}", child.id())).status();
            let _ = child.wait();
        }
    }

    /// Trusts the host keys from now on.
    pub(crate) fn trust(&self) {
        let key = fs::read_to_string(self.file("host_ed25519.pub")).unwrap();
        fs::write(self.file("known_hosts"), format!("[127.0.0.1]:{} {key}", self.port)).unwrap();
    }

    /// The address of the folder `store`.
    pub(crate) fn location(&self) -> SftpLocation {
        SftpLocation {
            user: Some(user_name()),
            host: "127.0.0.1".to_owned(),
            port: Some(self.port),
            path: self.file("store").to_str().unwrap().to_owned(),
        }
    }

    /// Options that refuse unknown hosts and know no key.
    pub(crate) fn options(&self) -> SftpOptions {
        SftpOptions { connections: 1, ..SftpOptions::new(self.file("known_hosts")) }
    }

    /// Options that work.
    pub(crate) fn working_options(&self) -> SftpOptions {
        self.trust();
        SftpOptions { key_files: vec![self.file("user")], ..self.options() }
    }

    /// A store that works.
    pub(crate) fn open(&self) -> Arc<dyn storage::Store> {
        storage::sftp::open(&self.location(), &self.working_options()).unwrap()
    }

    /// Lets another key log in.
    pub(crate) fn authorize(&self, public_key_file: &Path) {
        fs::copy(public_key_file, self.file("authorized_keys")).unwrap();
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.cut();
    }
}

fn serve(sshd: &Path, config: &Path, stream: TcpStream) -> Child {
    let stream = OwnedFd::from(stream);
    let mut command = Command::new(sshd);
    command.args(["-i", "-e", "-f"]).arg(config).process_group(0);
    command.stdin(Stdio::from(stream.try_clone().unwrap())).stdout(Stdio::from(stream));
    command.stderr(Stdio::null()).spawn().expect("sshd starts")
}

/// The user the tests run as: an unprivileged sshd knows no other.
pub(crate) fn user_name() -> String {
    let output = Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// An answer that remembers, and counts how often it was asked for.
pub(crate) fn remembering(asked: &Arc<AtomicUsize>) -> storage::sftp::OnUnknownHost {
    let asked = Arc::clone(asked);
    Arc::new(move |_| {
        asked.fetch_add(1, Ordering::SeqCst);
        HostKeyDecision::Remember
    })
}

/// An ssh-agent with the given keys.
pub(crate) struct Agent {
    folder: tempfile::TempDir,
    child: Child,
}

impl Agent {
    /// Starts an agent, or `None` where there is none.
    pub(crate) fn start(keys: &[PathBuf]) -> Option<Self> {
        let agent = program("ssh-agent")?;
        program("ssh-add")?;
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let mut command = Command::new(agent);
        let child = command.arg("-D").arg("-a").arg(&socket).stdout(Stdio::null()).spawn().unwrap();
        let this = Self { folder, child };
        while std::os::unix::net::UnixStream::connect(&socket).is_err() {
            std::thread::yield_now();
        }
        for key in keys {
            fs::set_permissions(key, fs::Permissions::from_mode(0o600)).unwrap();
            run(Command::new("ssh-add").arg("-q").arg(key).env("SSH_AUTH_SOCK", &socket));
        }
        Some(this)
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
