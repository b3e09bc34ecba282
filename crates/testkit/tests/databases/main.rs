//! Databases of real servers, dumped into a repository and brought back.

mod mariadb;
mod others;
mod postgres;
mod world;
