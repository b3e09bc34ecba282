//! The recovery plan, followed to the letter: its commands are taken out of it and run in a shell, for each of its
//! disasters, on real repositories. Questions are answered from the printed kit.

use crate::support::{LIFEBOAT, Machine, missing};
use crate::terminal::Terminal;
use format::textkey;
use rusqlite::Connection;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use testkit::servers::{mariadb, postgres};

/// Places that a name can be unkind to.
const AWAY: &str = "a b'way$(touch gone-wrong);`id`";

struct World {
    machine: Machine,
    /// A disk of its own, where the copies are that do not die with the machine.
    other: tempfile::TempDir,
}

impl World {
    /// A machine that protects files and the words of a command in three places, with a printed kit. `None` where there
    /// is no second disk.
    fn new(with_program: bool) -> Option<World> {
        let mut machine = Machine::new();
        let other = tempfile::Builder::new().prefix("lifeboat-plan").tempdir_in("/dev/shm").ok()?;
        if fs::metadata(other.path()).unwrap().dev() == fs::metadata(&machine.root).unwrap().dev() {
            return None;
        }
        let (root, shm) = (machine.root.display().to_string(), other.path().display().to_string());
        machine.set("XDG_CONFIG_HOME", &format!("{root}/home/.config"));
        machine.set("PATH", &format!("{root}/bin:/usr/sbin:/usr/bin:/sbin:/bin"));
        let text = format!(
            "[machine]\nname = \"atlas\"\n[repositories.disk]\nurl = \"{root}/disk\"\n\
             [repositories.usb]\nurl = \"{shm}/usb\"\nremovable = {{}}\n\
             [repositories.away]\nurl = \"{shm}/{AWAY}\"\noffsite = true\nlocation = \"the bank\"\n\
             [sources.src]\npaths = [\"{root}/src\"]\ndepends_on = [\"words\"]\nrto = \"2h\"\nexclude = [\"*.tmp\"]\n\
             [sources.photos]\npaths = [\"{root}/photos\"]\npriority = 1\ndescription = \"the children\"\n\
             [sources.words]\ntype = \"command\"\ncommand = [\"echo\", \"hello\"]\nrestore_command = [\"tee\", \"{root}/words\"]\n\
             [sources.notes]\ntype = \"command\"\ncommand = [\"echo\", \"a note\"]\ncriticality = \"low\"\n\
             [sources.vault]\ntype = \"sqlite\"\npaths = [\"{root}/vault.sqlite3\"]\npriority = 2\n\
             [jobs.daily]\nsources = [\"src\", \"words\", \"photos\", \"notes\", \"vault\"]\nto = [\"disk\", \"usb\", \"away\"]\nschedule = \"daily\"\n\
             [plan]\norganisation = \"The Smiths\"\nkeys = \"the safe\"\nnotes = \"The key of the safe is at Ann's.\"\n\
             [[plan.contacts]]\nname = \"Ann\\u001b[31m <script>\"\nrole = \"admin\"\nphone = \"+33 1 23\"\n\
             [[plan.contacts]]\nname = \"Bob\"\nemail = \"bob@example.org\"\n"
        );
        machine.write("home/.config/lifeboat/lifeboat.toml", text.as_bytes());
        machine.write("photos/one", b"the only one");
        let vault = Connection::open(root_vault(&machine)).unwrap();
        vault.execute_batch("create table coins (year); insert into coins values (1815), (1848)").unwrap();
        drop(vault);
        let world = World { machine, other };
        world.install();
        world.ok("init -q -r disk && lifeboat init -q -r usb --copy-of disk && lifeboat init -q -r away --copy-of disk");
        let no_program = if with_program { "" } else { "--no-program" };
        world.ok(&format!("kit {no_program} --text kit.txt && lifeboat run -q daily"));
        fs::create_dir(world.machine.path("follow")).unwrap();
        Some(world)
    }

    /// A program without what only a debugger needs: it is stored beside the copies.
    fn install(&self) {
        fs::create_dir_all(self.machine.path("bin")).unwrap();
        let program = self.machine.path("bin/lifeboat");
        let stripped = Command::new("strip").arg("-o").arg(&program).arg(LIFEBOAT).status();
        if !stripped.is_ok_and(|status| status.success()) {
            fs::copy(LIFEBOAT, &program).unwrap();
        }
    }

    fn ok(&self, line: &str) -> String {
        let output =
            self.machine.command_of("sh").args(["-c", &format!("lifeboat {line}")]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{line}\n{text}{}", String::from_utf8_lossy(&output.stderr));
        text
    }

    fn code(&self, line: &str) -> i32 {
        let output =
            self.machine.command_of("sh").args(["-c", &format!("lifeboat {line}")]).output().unwrap();
        output.status.code().unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.machine.path(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    /// What is gone with this machine and its disk.
    fn lose_machine(&self) {
        for gone in ["home", "src", "photos", "disk", "bin"] {
            fs::remove_dir_all(self.path(gone)).unwrap();
        }
        fs::create_dir(self.path("home")).unwrap();
        fs::remove_file(root_vault(&self.machine)).unwrap();
    }

    /// The recovery key of a sheet.
    fn key(sheet: &Path) -> String {
        let kit = service::kit::read(&fs::read_to_string(sheet).unwrap()).unwrap();
        textkey::encode(&kit.key.unwrap()).to_string()
    }

    /// Follows a disaster in a plan to the letter; `right` puts the lines right that say so.
    fn follow(&self, plan: &str, title: &str, right: &[(&str, &str)]) -> String {
        let recovered = self.path("recovered").display().to_string();
        let lines = commands(plan, title, &[right, &[("RECOVERED", &recovered)]].concat());
        assert!(!lines.is_empty(), "{plan}");
        let script = format!("set -e\ncd {}\n{}\n", self.path("follow").display(), lines.join("\n"));
        self.machine.write("followed.sh", script.as_bytes());
        let line = format!("sh {}", self.path("followed.sh").display());
        let terminal = Terminal::of(&self.machine, &line).expect("script of util-linux was there before");
        let (printed, new) = (self.path("kit.txt"), self.path("follow/kit.html"));
        let answer = |question: &str| {
            Some(match question {
                "Recovery key: " => World::key(&printed),
                "New password: " | "The same password again: " => "a new one".to_string(),
                asked if asked.starts_with("Groups ") => {
                    let numbers = asked.split(' ').filter_map(|word| word.parse::<usize>().ok());
                    let key = World::key(&new);
                    let groups: Vec<&str> = key.split('-').collect();
                    numbers.map(|n| groups[n - 1]).collect::<Vec<_>>().join(" ")
                }
                "Password: " => panic!("nobody knows one"),
                _ => return None,
            })
        };
        let (code, seen) = terminal.converse(&answer);
        assert_eq!(code, 0, "{script}\n{seen}");
        assert!(!self.path("follow/gone-wrong").exists() && !self.path("gone-wrong").exists());
        seen
    }

    /// Everything is as it was, and protected again in all three places.
    fn is_back(&self) {
        assert_eq!(self.read("src/a"), "hello\n");
        assert_eq!(self.read("src/sub/b"), "world\n");
        assert_eq!(self.read("photos/one"), "the only one");
        assert_eq!(self.read("words"), "hello\n");
        let vault = Connection::open(root_vault(&self.machine)).unwrap();
        let coins: i64 = vault.query_row("select count(*) from coins", [], |row| row.get(0)).unwrap();
        assert_eq!(coins, 2);
        if !self.path("bin").exists() {
            self.install();
        }
        for place in ["disk", "usb", "away"] {
            let list = self.ok(&format!("snapshots -r {place} --tag source:photos --json"));
            assert!(list.matches("\"id\"").count() >= 2, "{place}: {list}");
            self.ok(&format!("check -q -r {place}"));
        }
        assert_eq!(self.code("kit --check"), 0);
        assert!(!self.path("follow/kit.html").exists());
    }
}

/// The commands of a section of the plan, one after the other.
fn commands(plan: &str, title: &str, right: &[(&str, &str)]) -> Vec<String> {
    let section = plan.split(&format!("## {title}\n")).nth(1).expect("the plan tells of it");
    let section = section.split("\n## ").next().unwrap();
    let mut lines = Vec::new();
    let mut inside: Option<&str> = None;
    for line in section.lines() {
        match (inside, line.trim()) {
            (None, "```sh" | "```sh fill") => inside = Some(line.trim()),
            (Some(_), "```") => inside = None,
            (Some("```sh fill"), text) => {
                let name = text.split('=').next().unwrap();
                let value = right.iter().find(|(known, _)| *known == name);
                lines.push(value.map_or(text.to_string(), |(_, value)| format!("{name}={value}")));
            }
            (Some(_), text) => lines.push(text.to_string()),
            (None, _) => {}
        }
    }
    lines
}

fn root_vault(machine: &Machine) -> PathBuf {
    machine.path("vault.sqlite3")
}

fn world(with_program: bool) -> Option<World> {
    if Command::new("script").arg("--version").output().is_err() {
        missing("script of util-linux");
        return None;
    }
    let world = World::new(with_program);
    if world.is_none() {
        missing("/dev/shm, as a second disk");
    }
    world
}

#[test]
fn every_form_says_the_same_and_no_name_can_do_harm() {
    let Some(world) = world(false) else { return };
    world.ok("plan --html p.html --markdown p.md --text p.txt");
    let (html, md, text) = (world.read("p.html"), world.read("p.md"), world.read("p.txt"));
    assert_eq!(world.ok("plan").lines().count(), text.lines().count());
    for form in [&html, &md, &text] {
        assert!(!form.chars().any(|c| c.is_control() && c != '\n'), "a name steers the terminal");
        for said in [
            "The Smiths",
            "the safe",
            "+33 1 23",
            "bob@example.org",
            "the bank",
            "a guess",
            "the children",
            "2 h",
        ] {
            assert!(form.contains(said), "{said} in {form}");
        }
    }
    assert!(!html.contains("<script>") && !md.contains("<script>"), "{md}");
    let titles = [
        "A deleted file",
        "A dead disk",
        "A stolen laptop",
        "Ransomware",
        "A burnt house",
        "A lost password",
    ];
    for title in titles.iter().chain(&["A provider is gone"]) {
        assert!(html.contains(&format!("<h2>{title}</h2>")) && text.contains(&title.to_uppercase()));
        assert!(!commands(&md, title, &[]).is_empty());
    }
    let order: Vec<usize> =
        ["photos (files)", "vault (sqlite)", "words (command)", "src (files)", "notes (command)"]
            .iter()
            .map(|name| text.find(name).unwrap())
            .collect();
    assert!(order.is_sorted(), "{text}");

    let json: serde_json::Value = serde_json::from_str(&world.ok("plan --json")).unwrap();
    assert_eq!(json["order"][0]["from"]["repository"], "disk", "the nearest");
    assert_eq!(json["disasters"][1]["from"], "usb", "what is on the dead disk is dead");
    assert_eq!(json["disasters"][4]["from"], "away", "only that is in another building");
    assert!(json["uncovered"]["things"].is_array());

    // Stored in every place, found with the kit alone, and not stored again while it says the same.
    let before = world.ok("snapshots -r away --json");
    world.ok("run -q daily");
    let stored = |list: &str| list.matches("lifeboat:configuration").count();
    assert_eq!(stored(&world.ok("snapshots -r away --json")), stored(&before));
    world.lose_machine();
    world.install();
    let found = world.ok(&format!(
        "plan --stored --machine atlas -r '{}/usb' --recovery-key=kit.txt --markdown stored.md",
        world.other.path().display()
    ));
    assert_eq!(found, "wrote stored.md\n");
    assert_eq!(commands(&world.read("stored.md"), "A burnt house", &[]), commands(&md, "A burnt house", &[]));
}

#[test]
fn what_is_missing_from_a_plan_is_said() {
    let Some(world) = world(false) else { return };
    let gaps = |world: &World| -> Vec<String> {
        let output =
            world.machine.command_of("sh").args(["-c", "lifeboat plan --check --json"]).output().unwrap();
        let object: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let gaps: Vec<String> =
            object["gaps"].as_array().unwrap().iter().map(|gap| gap.as_str().unwrap().to_string()).collect();
        assert_eq!(output.status.code(), Some(if gaps.is_empty() { 0 } else { 4 }));
        // What else this machine has is not the same everywhere.
        gaps.into_iter().filter(|gap| !gap.contains("in no source")).collect()
    };
    assert_eq!(gaps(&world), [""; 0]);
    let text = world.read("home/.config/lifeboat/lifeboat.toml");
    let poorer = text.split("[plan]").next().unwrap().replace("offsite = true", "offsite = false");
    let poorer = poorer.replace("rto = \"2h\"", "rto = \"1s\"")
        + "[plan]\nreview_every = \"1h\"\n[sources.never]\npaths = [\"/never\"]\n";
    world.machine.write("home/.config/lifeboat/lifeboat.toml", poorer.as_bytes());
    let said = gaps(&world);
    for gap in [
        "nobody is named",
        "where the printed kit is",
        "never has no copy anywhere",
        "src would not be back within its goal",
        "A burnt house: lost for good: photos, vault, words, src, notes",
    ] {
        assert!(said.iter().any(|text| text.contains(gap)), "{gap} in {said:?}");
    }
    world.ok("plan --reviewed");
    assert!(world.ok("plan").contains("To be looked through before"));
}

#[test]
fn a_deleted_file_comes_back_by_the_plan() {
    let Some(world) = world(false) else { return };
    let md = plan(&world);
    fs::remove_file(world.path("photos/one")).unwrap();
    fs::remove_dir_all(world.path("src/sub")).unwrap();
    fs::write(world.path("src/a"), "changed since").unwrap();
    // As it stands it is about the whole of each source.
    let seen = world.follow(&md, "A deleted file", &[]);
    assert!(seen.contains("photos"), "{seen}");
    assert_eq!(world.read("photos/one"), "the only one");
    assert_eq!(world.read("src/sub/b"), "world\n");
    assert_eq!(world.read("src/a"), "changed since", "what is there stays");
    // And put right it is about one file.
    let Some(world) = self::world(false) else { return };
    fs::remove_file(world.path("src/sub/b")).unwrap();
    let file = world.path("src/sub/b").display().to_string();
    let md = md_of_source(&plan(&world), "src");
    let seen = world.follow(&md, "A deleted file", &[("FILE", &file)]);
    assert!(seen.contains("restored 1 file"), "{seen}");
    assert_eq!(world.read("src/sub/b"), "world\n");
    assert_eq!(world.read("follow/older-version/b"), "world\n");
}

/// Only the steps about one source: a person reads what is theirs.
fn md_of_source(md: &str, source: &str) -> String {
    let start = md.find(&format!("Something of {source} is gone")).unwrap();
    format!("## A deleted file\n{}", &md[start..])
}

fn plan(world: &World) -> String {
    world.ok("plan -q --markdown plan.md");
    world.read("plan.md")
}

#[test]
fn a_dead_disk_is_survived_by_the_plan_with_the_program_beside_the_copy() {
    let Some(world) = world(true) else { return };
    let md = plan(&world);
    world.lose_machine();
    let seen = world.follow(&md, "A dead disk", &[]);
    assert!(seen.contains("lifeboat: OK"), "the program is compared with its hash: {seen}");
    world.is_back();
}

#[test]
fn a_stolen_laptop_opens_nothing_any_more_and_comes_back_by_the_plan() {
    let Some(world) = world(true) else { return };
    let md = plan(&world);
    let stolen = world.path("stolen");
    fs::rename(world.path("home/.config/lifeboat/keys"), &stolen).unwrap();
    world.lose_machine();
    let thief = |world: &World| {
        let key = fs::read_dir(&stolen).unwrap().map(|e| e.unwrap().path()).collect::<Vec<_>>();
        let usb = world.other.path().join("usb");
        key.iter().any(|key| {
            world.code(&format!("snapshots -r {} --key-file {}", usb.display(), key.display())) == 0
        })
    };
    world.install();
    assert!(thief(&world));
    fs::remove_dir_all(world.path("bin")).unwrap();
    world.follow(&md, "A stolen laptop", &[]);
    world.is_back();
    assert_eq!(world.read("recovered/notes"), "a note\n", "what no command takes back is for a person");
    assert!(!thief(&world), "the keys of the stolen machine open nothing");
}

#[test]
fn ransomware_is_answered_by_the_plan() {
    let Some(world) = world(false) else { return };
    let md = plan(&world);
    let list: Vec<serde_json::Value> = serde_json::from_str(&world.ok("snapshots -r away --json")).unwrap();
    let last_good = list.iter().map(|s| s["time"].as_str().unwrap()).max().unwrap().to_string();
    for file in ["src/a", "src/sub/b", "photos/one"] {
        let len = fs::metadata(world.path(file)).unwrap().len();
        fs::write(world.path(file), vec![0xa5; len as usize]).unwrap();
    }
    world.ok("run -q daily");
    world.lose_machine();
    world.install();
    let clean = world.path("clean").display().to_string();
    let seen = world.follow(&md, "Ransomware", &[("BEFORE", &format!("'{last_good}'")), ("CLEAN", &clean)]);
    assert!(seen.contains("held"), "{seen}");
    let below = |name: &str| format!("{clean}{}/{name}", world.machine.root.display());
    assert_eq!(fs::read_to_string(below("src/sub/b")).unwrap(), "world\n");
    assert_eq!(fs::read_to_string(below("photos/one")).unwrap(), "the only one");
    assert_eq!(fs::read_to_string(format!("{clean}/words")).unwrap(), "hello\n");
    world.is_back();
}

#[test]
fn database_servers_come_back_by_the_plan() {
    let (Some(postgres), Some(mariadb)) = (postgres::Postgres::start(), mariadb::Mariadb::start()) else {
        return;
    };
    let Some(world) = world(false) else { return };
    postgres.sql("postgres", "create database shop");
    postgres.sql("shop", "create table orders as select n from generate_series(1, 5000) n");
    mariadb.sql("", "create database wiki");
    mariadb.sql("wiki", "create table pages (title text); insert into pages values ('first'), ('second')");
    let root = world.machine.root.display().to_string();
    let text = world.read("home/.config/lifeboat/lifeboat.toml")
        + &format!(
            "[sources.shop]\ntype = \"postgres\"\nurl = \"{}\"\ndatabases = [\"shop\"]\npassword = {{ file = \"{root}/shop-password\" }}\n\
             [sources.wiki]\ntype = \"mariadb\"\nurl = \"{}\"\ndatabases = [\"wiki\"]\npassword = {{ file = \"{root}/wiki-password\" }}\n\
             [jobs.servers]\nsources = [\"shop\", \"wiki\"]\nto = [\"disk\", \"usb\", \"away\"]\nschedule = \"daily\"\n",
            postgres.url_with_password("postgres"),
            mariadb.url()
        );
    world.machine.write("home/.config/lifeboat/lifeboat.toml", text.as_bytes());
    world.machine.write("shop-password", postgres::PASSWORD.as_bytes());
    world.machine.write("wiki-password", mariadb::PASSWORD.as_bytes());
    world.ok("run -q servers");
    let md = plan(&world);
    assert!(md.contains("Its database servers must run, empty"), "{md}");
    // On the new machine there are empty servers, and their passwords are where they were.
    postgres.sql("postgres", "drop database shop");
    mariadb.sql("", "drop database wiki");
    world.lose_machine();
    world.install();
    world.follow(&md, "A dead disk", &[]);
    assert_eq!(postgres.sql("shop", "select count(*) from orders"), "5000");
    assert_eq!(mariadb.sql("wiki", "select count(*) from pages"), "2");
    world.is_back();
}

#[test]
fn a_kit_in_shares_is_what_its_plan_asks_for() {
    let Some(world) = world(false) else { return };
    world.ok("kit split --shares 3 --threshold 2 --no-program --retire --out sheets");
    let md = plan(&world);
    assert!(md.contains("2 of the 3 shares") && !md.contains("--recovery-key"), "{md}");
    world.lose_machine();
    fs::remove_dir_all(world.other.path().join("usb")).unwrap();
    world.install();
    // One as its lines, one as the page that was printed.
    let sheet = |name: &str| world.path(&format!("sheets/{name}")).display().to_string();
    let (first, second) = (sheet("share-1-of-3.share"), sheet("share-3-of-3.html"));
    let seen = world.follow(&md, "A burnt house", &[("SHARE_1", &first), ("SHARE_2", &second)]);
    assert!(seen.contains("lifeboat kit split --shares 3 --threshold 2 --out shares --retire"), "{seen}");
    assert_eq!(world.read("photos/one"), "the only one");
    assert!(!world.path("follow/shares").exists());
    assert_eq!(world.code("kit --check"), 0);
    assert!(world.ok("kit --check").contains("2 of 3 shares open it"));
}

#[test]
fn a_burnt_house_is_survived_by_the_plan_that_lies_beside_the_copy() {
    let Some(world) = world(false) else { return };
    world.lose_machine();
    fs::remove_dir_all(world.other.path().join("usb")).unwrap();
    world.install();
    let away = world.other.path().join(AWAY).display().to_string().replace('\'', r"'\''");
    world.ok(&format!("plan --stored -r '{away}' --recovery-key=kit.txt --markdown stored.md"));
    let md = world.read("stored.md");
    world.follow(&md, "A burnt house", &[]);
    world.is_back();
}

#[test]
fn a_lost_password_is_replaced_by_the_plan() {
    let Some(world) = world(false) else { return };
    let md = plan(&world);
    world.follow(&md, "A lost password", &[]);
    world.machine.write("new", b"a new one\n");
    for place in [world.path("disk"), world.other.path().join("usb")] {
        assert_eq!(world.code(&format!("snapshots -q -r {} --password-file new", place.display())), 0);
    }
    assert_eq!(world.code("kit --check"), 0);
}

#[test]
fn a_provider_that_is_gone_is_replaced_by_the_plan() {
    let Some(world) = world(false) else { return };
    let md = plan(&world);
    fs::remove_dir_all(world.other.path().join(AWAY)).unwrap();
    let new = |n: u8| world.path(&format!("new place {n}")).display().to_string();
    let right: Vec<String> = (1..=3).map(|n| format!("'{}'", new(n))).collect();
    world.follow(
        &md,
        "A provider is gone",
        &[("NEW_1", &right[0]), ("NEW_2", &right[1]), ("NEW_3", &right[2])],
    );
    fs::write(world.path("words"), "hello\n").unwrap();
    world.is_back();
    assert!(world.ok("config show").contains("new place 3"));
}
