//! Where this machine's power comes from, as Linux tells it in `/sys/class/power_supply`.

use std::fs;
use std::path::Path;

/// Mains or battery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Power {
    /// Whether the machine runs on its battery. Not where that cannot be told.
    pub on_battery: bool,
    /// How full the emptiest of its batteries is, in per cent.
    pub battery: Option<u8>,
}

impl Power {
    /// Reads `/sys/class/power_supply`, or a folder like it. The batteries of mice and keyboards do not count.
    pub fn read(folder: &Path) -> Power {
        let supplies = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut power = Power::default();
        let (mut mains, mut discharging) = (None, false);
        for supply in supplies {
            let word = |name: &str| {
                fs::read_to_string(supply.join(name)).map(|text| text.trim().to_string()).unwrap_or_default()
            };
            match word("type").as_str() {
                "Battery" if word("scope") != "Device" => {
                    discharging |= word("status") == "Discharging";
                    let percent = word("capacity").parse::<u8>().ok().map(|percent| percent.min(100));
                    power.battery = power.battery.into_iter().chain(percent).min();
                }
                "Mains" | "USB" if word("online") == "1" => mains = Some(true),
                "Mains" => mains = mains.or(Some(false)),
                _ => {}
            }
        }
        power.on_battery = power.battery.is_some() && !mains.unwrap_or(!discharging);
        power
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(supplies: &[(&str, &[(&str, &str)])]) -> Power {
        let folder = tempfile::tempdir().unwrap();
        for (name, files) in supplies {
            let supply = folder.path().join(name);
            fs::create_dir(&supply).unwrap();
            for (file, text) in *files {
                fs::write(supply.join(file), format!("{text}\n")).unwrap();
            }
        }
        Power::read(folder.path())
    }

    const MOUSE: (&str, &[(&str, &str)]) = (
        "hidpp_battery_0",
        &[("type", "Battery"), ("scope", "Device"), ("capacity", "5"), ("status", "Discharging")],
    );

    #[test]
    fn a_machine_without_battery_is_not_on_battery() {
        assert_eq!(machine(&[]), Power::default());
        assert_eq!(machine(&[MOUSE]), Power::default());
        assert_eq!(Power::read(Path::new("/nonexistent")), Power::default());
    }

    #[test]
    fn a_laptop_is_on_battery_when_its_mains_are_off() {
        let battery = |status: &'static str| -> [(&str, &str); 3] {
            [("type", "Battery"), ("capacity", "42"), ("status", status)]
        };
        let off = machine(&[
            ("AC", &[("type", "Mains"), ("online", "0")]),
            ("BAT0", &battery("Discharging")),
            ("BAT1", &[("type", "Battery"), ("capacity", "80"), ("status", "Unknown")]),
            MOUSE,
        ]);
        assert_eq!(off, Power { on_battery: true, battery: Some(42) });
        let on = machine(&[("AC", &[("type", "Mains"), ("online", "1")]), ("BAT0", &battery("Discharging"))]);
        assert!(!on.on_battery, "some discharge while plugged in");
        let usb = machine(&[("ucsi", &[("type", "USB"), ("online", "1")]), ("BAT0", &battery("Charging"))]);
        assert!(!usb.on_battery);
        let nothing_else = machine(&[("BAT0", &battery("Discharging"))]);
        assert!(nothing_else.on_battery);
    }
}
