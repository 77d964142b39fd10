//! The host: files and HTTP. With `dbus` and `helper` the only place where the world is touched.

pub mod child;
pub mod command;
pub mod credentials;
pub mod docker;
pub mod edit;
pub mod files;
pub mod git;
pub mod http;
pub mod journald;
pub mod kept;
pub mod printed;
pub mod process;
pub mod trusted;
