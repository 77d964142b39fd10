//! The host: files, processes, HTTP. The only place, with `dbus` and `helper`, where the world is touched.

pub mod files;
