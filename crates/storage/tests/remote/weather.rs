//! Real servers behind a bad line, and on a disk that is full: nothing acknowledged is lost, and what goes
//! wrong is told as what it is.

use crate::servers::program::{self, Program};
use crate::servers::proxy::Proxy;
use crate::servers::s3::{Door, KEY_ID, S3Server, SECRET};
use crate::servers::storms::{
    SmallDisk, a_full_place_says_so, a_vanished_place_is_told, nothing_acknowledged_is_lost, patient,
};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use storage::{Location, RcloneStore, RemoteOptions, RemoteStore, Store};

fn s3_at(address: SocketAddr) -> Arc<dyn Store> {
    let lookup = |name: &str| match name {
        "AWS_ACCESS_KEY_ID" => Some(KEY_ID.to_owned()),
        "AWS_SECRET_ACCESS_KEY" => Some(SECRET.to_owned()),
        _ => None,
    };
    let location = Location::parse(&format!("s3:http://{address}/bucket/some/where")).unwrap();
    let options = RemoteOptions { lookup: Some(&lookup), ..RemoteOptions::default() };
    Arc::new(RemoteStore::open(&location, options).unwrap())
}

fn address_of(server: &S3Server) -> SocketAddr {
    server.endpoint.trim_start_matches("http://").parse().unwrap()
}

#[test]
fn s3_with_conditional_writes_survives_a_storm() {
    let server = S3Server::start(Door::default());
    let proxy = Proxy::to(address_of(&server));
    nothing_acknowledged_is_lost(s3_at(proxy.address), &server.store(), &proxy, true);
    assert!(proxy.connections() > 2);
}

#[test]
fn s3_that_replaces_in_spite_of_the_condition_survives_a_storm() {
    let server = S3Server::start(Door { ignores_if_none_match: true, ..Door::default() });
    let proxy = Proxy::to(address_of(&server));
    nothing_acknowledged_is_lost(s3_at(proxy.address), &server.store(), &proxy, true);
}

#[test]
fn s3_that_knows_no_condition_survives_a_storm() {
    let server = S3Server::start(Door { knows_no_if_none_match: true, ..Door::default() });
    let proxy = Proxy::to(address_of(&server));
    nothing_acknowledged_is_lost(s3_at(proxy.address), &server.store(), &proxy, true);
}

#[test]
fn s3_that_vanishes_is_told() {
    let server = S3Server::start(Door::default());
    let proxy = Proxy::to(address_of(&server));
    a_vanished_place_is_told(s3_at(proxy.address), &proxy);
}

const HINT: &str = "Debian: apt install rclone";

fn serve(rclone: &Path, folder: &Path) -> Program {
    Program::start(|address| {
        let mut command = Command::new(rclone);
        command.args(["serve", "webdav", "--addr"]).arg(address.to_string()).arg(folder);
        command.env("RCLONE_CONFIG", "/nonexistent/rclone.conf");
        command
    })
}

fn webdav_at(address: SocketAddr) -> Arc<dyn Store> {
    let location = Location::parse(&format!("webdav://{address}/some/where")).unwrap();
    Arc::new(RemoteStore::open(&location, RemoteOptions::default()).unwrap())
}

#[test]
fn webdav_survives_a_storm() {
    let Some(rclone) = program::find("rclone", HINT) else { return };
    let folder = tempfile::tempdir().unwrap();
    let server = serve(&rclone, folder.path());
    let proxy = Proxy::to(server.address);
    let calm = patient(webdav_at(server.address));
    nothing_acknowledged_is_lost(webdav_at(proxy.address), &calm, &proxy, true);
}

#[test]
fn webdav_that_vanishes_is_told() {
    let Some(rclone) = program::find("rclone", HINT) else { return };
    let folder = tempfile::tempdir().unwrap();
    let server = serve(&rclone, folder.path());
    let proxy = Proxy::to(server.address);
    a_vanished_place_is_told(webdav_at(proxy.address), &proxy);
}

#[test]
fn webdav_on_a_full_disk_says_so() {
    let Some(rclone) = program::find("rclone", HINT) else { return };
    let Some(disk) = SmallDisk::new(4) else { return };
    let server = serve(&rclone, disk.0.path());
    a_full_place_says_so(&*webdav_at(server.address), false);
}

#[test]
fn rclone_on_a_full_disk_says_so() {
    let Some(_) = program::find("rclone", HINT) else { return };
    let Some(disk) = SmallDisk::new(4) else { return };
    let near = tempfile::tempdir().unwrap();
    std::fs::write(near.path().join("rclone.conf"), "[disk]\ntype = local\n").unwrap();
    let config = near.path().join("rclone.conf").display().to_string();
    let lookup = move |name: &str| (name == "RCLONE_CONFIG").then(|| config.clone());
    let place = format!("rclone:disk:{}", disk.0.path().display());
    let Location::Rclone(place) = Location::parse(&place).unwrap() else { unreachable!() };
    let options = RemoteOptions { lookup: Some(&lookup), ..RemoteOptions::default() };
    a_full_place_says_so(&RcloneStore::open(&place, true, &options).unwrap(), true);
}
