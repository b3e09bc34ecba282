//! Where this machine's own files lie: cache, configuration and state.
//!
//! Follows the XDG folders; the cache and the state may vanish at any time without harm, the keys in the
//! configuration folder may not.

use crate::environment::Environment;
use std::path::PathBuf;

/// The folders of this installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folders {
    /// The user's home folder.
    pub home: PathBuf,
    /// What saves time and nothing else.
    pub cache: PathBuf,
    /// Key files and remembered servers.
    pub configuration: PathBuf,
    /// What this installation knows about itself.
    pub state: PathBuf,
    /// What only lives while programs run: sockets.
    pub runtime: PathBuf,
    /// The configuration of the whole machine.
    pub system_configuration: PathBuf,
}

impl Folders {
    /// The folders that the environment names: those systemd hands to a service, else those of the user.
    pub fn of(environment: &Environment) -> Self {
        let home = environment.path("HOME").unwrap_or_else(|| PathBuf::from("/"));
        let xdg = |variable: &str, below_home: &str| {
            let base = environment.path(variable).filter(|path| path.is_absolute());
            base.unwrap_or_else(|| home.join(below_home)).join("lifeboat")
        };
        // systemd separates several by colons; the first is ours.
        let handed_over = |variable: &str| {
            let first = environment.variable(variable)?.split(':').next().map(PathBuf::from);
            first.filter(|path| path.is_absolute())
        };
        let folder = |systemd: &str, variable: &str, below_home: &str| {
            handed_over(systemd).unwrap_or_else(|| xdg(variable, below_home))
        };
        let state = folder("STATE_DIRECTORY", "XDG_STATE_HOME", ".local/state");
        let runtime = handed_over("RUNTIME_DIRECTORY").or_else(|| {
            environment
                .path("XDG_RUNTIME_DIR")
                .filter(|path| path.is_absolute())
                .map(|path| path.join("lifeboat"))
        });
        Folders {
            cache: folder("CACHE_DIRECTORY", "XDG_CACHE_HOME", ".cache"),
            configuration: folder("CONFIGURATION_DIRECTORY", "XDG_CONFIG_HOME", ".config"),
            runtime: runtime.unwrap_or_else(|| state.join("run")),
            system_configuration: PathBuf::from("/etc/lifeboat"),
            state,
            home,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn folders(variables: &'static [(&str, &str)]) -> Folders {
        let look = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| value.into());
        Folders::of(&Environment::new(look))
    }

    #[test]
    fn what_systemd_hands_over_comes_before_the_users_folders() {
        let of_user =
            folders(&[("HOME", "/home/me"), ("XDG_CACHE_HOME", "/var/tmp/c"), ("XDG_STATE_HOME", "rel")]);
        assert_eq!(of_user.configuration, Path::new("/home/me/.config/lifeboat"));
        assert_eq!(of_user.cache, Path::new("/var/tmp/c/lifeboat"));
        assert_eq!(of_user.state, Path::new("/home/me/.local/state/lifeboat"));
        assert_eq!(of_user.runtime, Path::new("/home/me/.local/state/lifeboat/run"));
        let service = folders(&[
            ("HOME", "/"),
            ("STATE_DIRECTORY", "/var/lib/lifeboat:/var/lib/other"),
            ("CONFIGURATION_DIRECTORY", "/etc/lifeboat"),
            ("RUNTIME_DIRECTORY", "/run/lifeboat"),
        ]);
        assert_eq!(service.state, Path::new("/var/lib/lifeboat"));
        assert_eq!(service.configuration, Path::new("/etc/lifeboat"));
        assert_eq!(service.runtime, Path::new("/run/lifeboat"));
    }
}
