//! From the configuration to what runs by itself: jobs, maintenance, verification, and the watch over all of it,
//! each with its schedule, its conditions and the repositories it writes to.

use crate::catalog::Duty;
use crate::conditions::{Found, Power, Wanted, Window, metered};
use crate::config::Config;
use crate::config::values::When;
use crate::config::watch::QuietHours;
use crate::daemon::plan::{DutyPlan, Key};
use crate::schedule::{Schedule, jitter};
use jiff::civil::DateTime;
use std::path::Path;
use std::time::Duration;
use storage::ThrottleOptions;

/// Where Linux tells of mains and batteries.
const POWER: &str = "/sys/class/power_supply";
/// How often it is looked whether people must be told something.
const WATCH: &str = "*:0/15";
/// Between two tries of a duty of a repository.
const WAIT: Duration = Duration::from_secs(600);

/// Everything that is to be done again and again on this machine.
pub fn plans(config: &Config, machine: &str) -> Vec<DutyPlan> {
    let mut plans: Vec<DutyPlan> = config.jobs.keys().map(|name| job(config, machine, name)).collect();
    let used = |name: &&String| config.jobs.values().any(|job| job.to.contains(name));
    for name in config.repositories.keys().filter(used) {
        let maintenance = of_repository(Duty::Maintenance, name, config.maintenance.schedule.as_slice());
        plans.push(DutyPlan { writes: vec![name.clone()], ..maintenance });
        plans.push(of_repository(Duty::Verify, name, config.verify.schedule.as_slice()));
    }
    for (name, drill) in &config.drills {
        plans.push(of_repository(Duty::Drill, name, &config.schedule_of_drill(drill)));
    }
    if !config.notify.is_empty() {
        let schedules = vec![WATCH.parse().expect("a schedule that is written here is one")];
        plans.push(DutyPlan {
            schedules,
            heeds_conditions: false,
            attempts: 1,
            ..of_repository(Duty::Watch, "", &[])
        });
    }
    plans.retain(|plan| !plan.schedules.is_empty() || plan.duty == Duty::Run);
    plans
}

fn schedules(whens: &[When]) -> Vec<Schedule> {
    whens.iter().map(When::schedule).collect()
}

fn job(config: &Config, machine: &str, name: &str) -> DutyPlan {
    let job = &config.jobs[name];
    let only_if = &job.only_if;
    DutyPlan {
        duty: Duty::Run,
        subject: name.to_string(),
        schedules: schedules(&config.schedule_of(job)),
        delay: job.jitter.map_or(Duration::ZERO, |most| jitter(machine, name, most.0)),
        catch_up: job.catch_up,
        heeds_conditions: true,
        wanted: Wanted {
            battery_above: only_if.battery_above,
            unmetered: !only_if.on_metered,
            unless_older_than: only_if.unless_older_than.map(|most| most.0),
        },
        writes: job.to.clone(),
        // A run tries again by itself.
        attempts: 1,
        wait: job.retry.wait.0,
        timeout: None,
        goal: None,
    }
}

fn of_repository(duty: Duty, subject: &str, whens: &[When]) -> DutyPlan {
    DutyPlan {
        duty,
        subject: subject.to_string(),
        schedules: schedules(whens),
        delay: Duration::ZERO,
        catch_up: true,
        heeds_conditions: true,
        wanted: Wanted::default(),
        writes: Vec::new(),
        attempts: 3,
        wait: WAIT,
        timeout: None,
        goal: None,
    }
}

/// The arguments with which this program does it, and only it.
pub fn arguments(key: &Key, trigger: &str) -> Vec<String> {
    let words: Vec<&str> = match key.duty {
        Duty::Maintenance => vec!["run", "--maintain", &key.subject],
        Duty::Verify => vec!["run", "--verify", &key.subject],
        Duty::Watch | Duty::Report => return vec!["status".into(), "--notify".into(), "--json".into()],
        Duty::Drill => {
            let words = ["drill", "run", &key.subject, "--json", "--alone"];
            return words.into_iter().map(str::to_string).collect();
        }
        Duty::Run | Duty::Sync => vec!["run", &key.subject],
    };
    let more = ["--json", "--alone", "--trigger", trigger];
    words.into_iter().chain(more).map(str::to_string).collect()
}

fn windows(config: &Config) -> impl Iterator<Item = (&QuietHours, Window)> {
    let quiet = config.daemon.quiet_hours.iter().flat_map(|quiet| quiet.as_slice());
    quiet.filter_map(|quiet| Some((quiet, quiet.window.parse().ok()?)))
}

/// Looks at the world, where what is wanted depends on it.
pub fn look(config: &Config, wanted: &Wanted, local: DateTime) -> Found {
    let mut stops = windows(config).filter(|(quiet, _)| quiet.upload.is_none() && quiet.download.is_none());
    Found {
        power: if wanted.battery_above.is_some() { Power::read(Path::new(POWER)) } else { Power::default() },
        metered: if wanted.unmetered { metered() } else { crate::conditions::Metered::Unknown },
        quiet: stops.any(|(_, window)| window.contains(local)),
    }
}

/// Whether the configuration limits the speed of all runs, at any time.
pub fn limits(config: &Config) -> bool {
    let limits = &config.daemon.limits;
    limits.upload.is_some() || limits.download.is_some() || config.daemon.quiet_hours.is_some()
}

/// Lowers limits of speed to those of the daemon and of the quiet hours that are on at this time.
pub fn limit(config: &Config, local: DateTime, throttle: &mut ThrottleOptions) {
    let lower = |limit: &mut Option<u64>, rate: Option<u64>| *limit = limit.iter().copied().chain(rate).min();
    let limits = &config.daemon.limits;
    lower(&mut throttle.upload_bytes_per_s, limits.upload.map(|rate| rate.0));
    lower(&mut throttle.download_bytes_per_s, limits.download.map(|rate| rate.0));
    for (quiet, _) in windows(config).filter(|(_, window)| window.contains(local)) {
        lower(&mut throttle.upload_bytes_per_s, quiet.upload.map(|rate| rate.0));
        lower(&mut throttle.download_bytes_per_s, quiet.download.map(|rate| rate.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        toml::from_str(text).unwrap()
    }

    const MORE: &str = r#"
        [repositories.nas]
        url = "/mnt/nas"
        [repositories.spare]
        url = "/mnt/spare"
        [sources.home]
        type = "files"
        paths = ["/home"]
        [jobs.daily]
        sources = ["home"]
        to = ["nas"]
        schedule = "02:30"
        jitter = "10min"
        only_if = { battery_above = 30, on_metered = false, unless_older_than = "3d" }
        [daemon]
        quiet_hours = [{ window = "Mon..Fri 09:00-18:00", upload = "1M" }, { window = "Sat" }]
    "#;

    #[test]
    fn each_job_and_each_used_repository_has_its_duties() {
        let plans = plans(&config(MORE), "atlas");
        let keys: Vec<String> = plans.iter().map(|plan| plan.key().to_string()).collect();
        assert_eq!(keys, ["job daily", "maintenance of nas", "verification of nas"]);
        assert_eq!(plans[0].wanted.battery_above, Some(30));
        assert!(plans[0].wanted.unmetered && plans[0].delay <= Duration::from_secs(600));
        assert_eq!(
            (&plans[0].writes[..], &plans[1].writes[..], plans[2].writes.len()),
            (&["nas".to_string()][..], &["nas".to_string()][..], 0)
        );
    }

    #[test]
    fn drills_are_held_by_their_schedule_or_by_how_bad_a_loss_would_be() {
        let drills =
            "[drills.photos]\nsource = \"home\"\n[drills.paper]\nkind = \"kit\"\nschedule = \"Mon 06:00\"\n";
        let plans = plans(&config(&format!("{drills}{MORE}")), "atlas");
        let drills: Vec<_> = plans.iter().filter(|plan| plan.duty == Duty::Drill).collect();
        let keys: Vec<String> = drills.iter().map(|plan| plan.key().to_string()).collect();
        assert_eq!(keys, ["drill paper", "drill photos"]);
        assert!(drills.iter().all(|plan| plan.schedules.len() == 1 && plan.writes.is_empty()));
        let arguments = arguments(&drills[1].key(), "schedule");
        assert_eq!(arguments, ["drill", "run", "photos", "--json", "--alone"]);
    }

    #[test]
    fn without_limits_and_quiet_hours_nothing_is_throttled() {
        assert!(limits(&config(MORE)));
        assert!(!limits(&config(&MORE.replace("quiet_hours", "# quiet_hours"))));
    }

    #[test]
    fn quiet_hours_slow_down_or_stop() {
        let config = config(MORE);
        let (wednesday, saturday) =
            ("2026-11-25T10:00".parse().unwrap(), "2026-11-28T10:00".parse().unwrap());
        assert!(!look(&config, &Wanted::default(), wednesday).quiet);
        assert!(look(&config, &Wanted::default(), saturday).quiet);
        let mut throttle =
            ThrottleOptions { upload_bytes_per_s: Some(5 << 20), ..ThrottleOptions::default() };
        limit(&config, saturday, &mut throttle);
        assert_eq!(throttle.upload_bytes_per_s, Some(5 << 20));
        limit(&config, wednesday, &mut throttle);
        assert_eq!(throttle.upload_bytes_per_s, Some(1 << 20));
    }
}
