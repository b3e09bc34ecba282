//! Names of network devices: another machine has others, and settings name them. Pure.

use serde_json::Value;
use std::collections::BTreeMap;

/// Old names and the new ones.
pub type Renaming = BTreeMap<String, String>;

/// Devices of the answer of `ip -json link` that are hardware: name and address.
fn cards(links: &[u8]) -> Vec<(String, String)> {
    let parsed: Value = serde_json::from_slice(links).unwrap_or_default();
    let card = |link: &Value| {
        let name = link["ifname"].as_str()?;
        let is_ether = link["link_type"].as_str() == Some("ether");
        // What software makes has a kind.
        let is_made = !link["linkinfo"]["info_kind"].is_null()
            || ["docker", "veth", "br-", "virbr", "tap", "tun", "bond", "vlan", "wg", "dummy"]
                .iter()
                .any(|begin| name.starts_with(begin));
        (is_ether && !is_made && is_name(name))
            .then(|| (name.to_string(), link["address"].as_str().unwrap_or_default().to_string()))
    };
    parsed.as_array().into_iter().flatten().filter_map(card).collect()
}

/// Whether a text can be the name of a network device.
pub fn is_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    (1..=15).contains(&text.len()) && text.chars().all(plain)
}

/// Which new name belongs to which old one, from the kept answer of `ip -json link` and the one of this machine: the
/// same card by its address, else the only one.
pub fn guess(kept: &[u8], here: &[u8]) -> Renaming {
    let (old, new) = (cards(kept), cards(here));
    let mut renaming = Renaming::new();
    for (name, address) in &old {
        if let Some((now, _)) = new.iter().find(|(_, a)| !a.is_empty() && a == address) {
            renaming.insert(name.clone(), now.clone());
        }
    }
    if let ([(was, _)], [(is, _)], true) = (&old[..], &new[..], renaming.is_empty()) {
        renaming.insert(was.clone(), is.clone());
    }
    renaming.retain(|was, is| was != is);
    renaming
}

/// Whole names in a text replaced. `eth0` is no part of `eth01` or `my-eth0`; `eth0.5` and `eth0:1` belong to `eth0`.
pub fn rename(text: &str, renaming: &Renaming) -> String {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut before: Option<char> = None;
    while !rest.is_empty() {
        let free = !before.is_some_and(|c| is_part(c) || c == '.');
        let fits = |was: &&String| {
            free && rest.starts_with(was.as_str()) && !rest[was.len()..].chars().next().is_some_and(is_part)
        };
        match renaming.keys().find(fits) {
            Some(was) => {
                out.push_str(&renaming[was]);
                before = was.chars().last();
                rest = &rest[was.len()..];
            }
            None => {
                let c = rest.chars().next().expect("something is left");
                out.push(c);
                before = Some(c);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_replaced_whole() {
        let new = Renaming::from([("eth0".into(), "enp3s0".into())]);
        let text =
            "auto eth0\niface eth0 inet dhcp\neth0.5 eth0:1 eth01 my-eth0 x.eth0 veth0 \"eth0\"\nName=eth0";
        let expected = "auto enp3s0\niface enp3s0 inet dhcp\nenp3s0.5 enp3s0:1 eth01 my-eth0 x.eth0 veth0 \"enp3s0\"\nName=enp3s0";
        assert_eq!(rename(text, &new), expected);
        let swapped = Renaming::from([("a".into(), "b".into()), ("b".into(), "a".into())]);
        assert_eq!(rename("a b c", &swapped), "b a c");
        assert_eq!(rename("ä eth0", &new), "ä enp3s0");
    }

    #[test]
    fn the_same_card_is_known_by_its_address_and_a_single_one_by_being_alone() {
        let links = |list: &[(&str, &str)]| {
            let all: Vec<Value> = list
                .iter()
                .map(|(name, address)| serde_json::json!({"ifname": name, "link_type": "ether", "address": address}))
                .collect();
            serde_json::to_vec(&all).unwrap()
        };
        let old = links(&[
            ("eth0", "52:54:00:00:00:01"),
            ("eth1", "52:54:00:00:00:02"),
            ("docker0", "02:42:00:00:00:01"),
        ]);
        let new = links(&[("ens4", "52:54:00:00:00:02"), ("ens3", "52:54:00:00:00:09")]);
        assert_eq!(guess(&old, &new), Renaming::from([("eth1".into(), "ens4".into())]));
        let one = |name: &str, address: &str| links(&[(name, address), ("lo", "")]);
        let alone = guess(&links(&[("eth0", "52:54:00:00:00:01")]), &links(&[("ens3", "52:54:00:00:00:07")]));
        assert_eq!(alone, Renaming::from([("eth0".into(), "ens3".into())]));
        assert_eq!(guess(&one("eth0", "a"), &one("eth0", "a")), Renaming::new());
        assert_eq!(guess(b"no json", b"[]"), Renaming::new());
    }
}
