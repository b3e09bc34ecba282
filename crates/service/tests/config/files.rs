//! Several files, the sample, and the page that is made from the schema.

use super::{LEAST, right, told};
use service::config::load::{FILE_NAME, understand};
use service::config::problem::SourceFile;
use service::config::{Source, find, load, schema};
use service::environment::Environment;
use service::folders::Folders;
use std::path::{Path, PathBuf};

const SAMPLE: &str = include_str!("../../../../docs/reference/lifeboat.toml");

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn folders(home: &Path) -> Folders {
    let home = home.to_path_buf();
    let environment = Environment::new(move |name| (name == "HOME").then(|| home.clone().into_os_string()));
    Folders::of(&environment)
}

#[test]
fn the_sample_says_what_it_seems_to_say() {
    let loaded = right(SAMPLE);
    let config = &loaded.config;
    assert_eq!(config.repositories.len(), 3);
    assert!(config.repositories["cloud"].is_offsite() && !config.repositories["nas"].is_offsite());
    assert!(matches!(config.sources["shop-db"], Source::Postgres(_)));
    assert_eq!(config.jobs["daily"].to, ["nas", "usb", "cloud"]);
    assert_eq!(config.retention_of("shop-db", "cloud").0, "legal");
    assert_eq!(config.retention_of("home", "nas").0, "default");
    assert_eq!(config.alerts.failed.as_ref().unwrap().to(), ["mail"]);
    assert_eq!(config.hooks.len(), 2);
}

#[test]
fn what_is_shown_can_be_read_again_and_holds_no_secret() {
    let text = LEAST.replace("url", "password = \"hunter2\"\nurl");
    let shown = right(&text).config.to_toml();
    assert!(!shown.contains("hunter2") && shown.contains("***"), "{shown}");
    let again = right(&right(SAMPLE).config.to_toml()).config.to_toml();
    assert_eq!(again, right(SAMPLE).config.to_toml());
}

#[test]
fn conf_d_adds_to_tables_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let main = folder.path().join(FILE_NAME);
    std::fs::write(&main, LEAST).unwrap();
    std::fs::create_dir(folder.path().join("conf.d")).unwrap();
    let add = |name: &str, text: &str| std::fs::write(folder.path().join("conf.d").join(name), text).unwrap();
    add(
        "10-mail.toml",
        "version = 1\n[notify.mail]\ntype = \"command\"\nrun = [\"true\"]\n[[hooks]]\non = \"before\"\nrun = [\"a\"]\n",
    );
    add(
        "20-more.toml",
        "[repositories.main.limits]\nupload = \"1M\"\n[[hooks]]\non = \"after\"\nrun = [\"b\"]\n",
    );
    add("ignored.txt", "nothing\n");
    add(".hidden.toml", "nothing\n");
    let loaded = load(&main, &folders(folder.path())).unwrap().unwrap_or_else(|b| panic!("{}", told(&b)));
    assert_eq!(loaded.files.len(), 3);
    assert_eq!(loaded.config.repositories["main"].limits.upload.unwrap().0, 1 << 20);
    assert_eq!(loaded.config.hooks.len(), 2);
    add("30-again.toml", "[repositories.main]\nurl = \"/mnt/other\"\n");
    let broken = load(&main, &folders(folder.path())).unwrap().err().unwrap();
    let text = told(&broken);
    assert!(
        text.contains("30-again.toml:2:7: error: repositories.main.url is written a second time"),
        "{text}"
    );
    assert!(text.contains("lifeboat.toml:2:7"), "{text}");
}

#[test]
fn the_file_is_found_where_it_may_be() {
    let folder = tempfile::tempdir().unwrap();
    let folders = folders(folder.path());
    let nothing = Environment::empty();
    let of_user = folders.configuration.join(FILE_NAME);
    std::fs::create_dir_all(&folders.configuration).unwrap();
    std::fs::write(&of_user, LEAST).unwrap();
    assert_eq!(find(None, &nothing, &folders), Some(of_user));
    let named = Environment::new(|name| (name == "LIFEBOAT_CONFIG").then(|| "/x/y.toml".into()));
    assert_eq!(find(None, &named, &folders), Some("/x/y.toml".into()));
    assert_eq!(find(Some(Path::new("/z.toml")), &named, &folders), Some("/z.toml".into()));
}

#[test]
fn no_text_makes_it_fall_over() {
    for text in [
        "",
        "\u{feff}",
        "a",
        "a = nan",
        "version = 99999999999999999999",
        "[[sources]]",
        "sources = 1",
        "jobs = []",
        "[sources]\nx = 1",
        "[retention]\nrules = 5",
        "[alerts]\nstale = 5",
        "[notify.x]\n",
        "hooks = {}",
        "[jobs.a]\nsources = [1]\nto = [[]]",
        "[sources.a]\ntype = 5",
        "machine = 1979-05-27",
    ] {
        let file = SourceFile { path: FILE_NAME.into(), text: text.into() };
        if let Err(broken) = understand(vec![file], Path::new("/")) {
            assert!(!broken.problems.is_empty(), "{text}");
            told(&broken);
        }
    }
    let deep = format!("a = {}1{}", "[".repeat(200), "]".repeat(200));
    let file = SourceFile { path: FILE_NAME.into(), text: deep };
    assert!(understand(vec![file], Path::new("/")).is_err());
}

/// `LIFEBOAT_BLESS=1 cargo test -p service` writes the page anew.
#[test]
fn the_reference_page_says_what_the_schema_says() {
    let page = service::config::reference_page::page(schema());
    let path = project().join("docs/reference/config.md");
    if std::env::var_os("LIFEBOAT_BLESS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == page,
        "docs/reference/config.md is old: LIFEBOAT_BLESS=1 cargo test -p service --test config"
    );
}

#[test]
fn every_key_says_what_it_means() {
    fn look(path: &str, schema: &serde_json::Value, missing: &mut Vec<String>) {
        for (key, value) in schema["properties"].as_object().into_iter().flatten() {
            let has = value.get("description").is_some()
                || value.get("$ref").is_some()
                || value.get("anyOf").is_some();
            if !has && value.get("const").is_none() && !path.contains("Secret") {
                missing.push(format!("{path}.{key}"));
            }
        }
        for (key, value) in schema.as_object().into_iter().flatten() {
            look(&format!("{path}/{key}"), value, missing);
        }
        for value in schema.as_array().into_iter().flatten() {
            look(path, value, missing);
        }
    }
    let mut missing = Vec::new();
    look("", schema(), &mut missing);
    assert!(missing.is_empty(), "{missing:?}");
}

/// The pieces of the guide are right, together with what they build on.
#[test]
fn the_guide_can_be_used_as_it_is_written() {
    let guide = std::fs::read_to_string(project().join("docs/guide/configuration.md")).unwrap();
    let pieces: Vec<&str> =
        guide.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert_eq!(pieces.len(), 6);
    right(pieces[0]);
    right(&format!("{}{}", pieces[0], pieces[1]));
    right(&format!("[sources.home]\npaths = [\"~\"]\n{}", pieces[2]));
    right(&format!(
        "[repositories.usb]\nurl = \"/u\"\n[repositories.nas]\nurl = \"/n\"\n[sources.books]\npaths = [\"/b\"]\n{}",
        pieces[3]
    ));
    right(&pieces[0].replace("[jobs.daily]\n", pieces[4]));
    right(pieces[5]);
}
