//! Remote places against real servers, one binary for all of them.

#[path = "remote/drives/mod.rs"]
mod drives;
#[path = "remote/emulators.rs"]
mod emulators;
#[path = "remote/object_stores.rs"]
mod object_stores;
#[path = "remote/people.rs"]
mod people;
#[path = "remote/rclone.rs"]
mod rclone;
#[path = "remote/servers/mod.rs"]
mod servers;
#[path = "remote/weather.rs"]
mod weather;
#[path = "remote/webdav.rs"]
mod webdav;
