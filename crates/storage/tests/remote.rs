//! Remote places against real servers, one binary for all of them.

#[path = "remote/emulators.rs"]
mod emulators;
#[path = "remote/object_stores.rs"]
mod object_stores;
#[path = "remote/servers/mod.rs"]
mod servers;
#[path = "remote/webdav.rs"]
mod webdav;
