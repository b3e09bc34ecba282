//! What the file format has room for and this version does not do. Such a key is refused, never ignored: a
//! line that promises an immutable copy and does nothing is worse than none.
//!
//! Whoever makes a key work takes it out of the list.

/// Keys that nothing follows yet; `*` stands for one name.
const NOT_IN_THIS_VERSION: &[&str] = &[
    "daemon.limits.cpu",
    "daemon.limits.memory",
    "daemon.limits.read",
    "daemon.tls",
    "repositories.*.removable.mount",
    "repositories.*.removable.uuid",
];

/// Whether a key is one of a later version.
pub(super) fn is_not_in_this_version(path: &[String]) -> bool {
    NOT_IN_THIS_VERSION.iter().any(|pattern| fits(pattern, path))
}

fn fits(pattern: &str, path: &[String]) -> bool {
    let parts: Vec<&str> = pattern.split('.').collect();
    parts.len() == path.len() && parts.iter().zip(path).all(|(part, key)| *part == "*" || part == key)
}

/// All of them, for the schema.
pub(super) fn all() -> &'static [&'static str] {
    NOT_IN_THIS_VERSION
}

/// Whether a key's value may be a secret, so that its line is not shown.
pub(super) fn names_a_secret(key: &str) -> bool {
    ["password", "passphrase", "secret", "token", "access_key", "headers"]
        .iter()
        .any(|word| key.contains(word))
}
