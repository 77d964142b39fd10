//! `rekeyd helper one-file`, asked about a user's PM2: whether its daemon is there, with what to call it, what its apps and
//! its saved list have. All of it is looked at as that user, and nothing is started.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::Access;
use rustix::net::sockopt::socket_peercred;
use rustix::process::geteuid;
use serde::{Deserialize, Serialize};

use super::NotDone;
use super::file::{become_user, of_root_alone};
use crate::secret::digest;

mod look;
mod saved;
mod values;

use look::{Look, all_processes, environment, look};
use saved::{saved, tighten};
use values::{assigned, variable};

/// What is asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Pm2Question {
    /// Whose daemon.
    pub user: String,
    /// `PM2_HOME`, where it is not `~/.pm2`.
    pub home: Option<PathBuf>,
    /// The program, where it is not beside node or in a usual place.
    pub pm2: Option<PathBuf>,
    /// Node, where it is not the one that runs the daemon.
    pub node: Option<PathBuf>,
    /// What the user's PM2 will execute.
    pub ecosystem: PathBuf,
    /// The processes to look at.
    pub pids: Vec<u32>,
    /// The apps to look for in the saved list.
    pub apps: Vec<String>,
    /// The variables to look at.
    pub variables: Vec<String>,
    /// 32 random bytes, in hex, of this request alone.
    pub key: String,
    /// Whether the saved list is to be made unreadable for others.
    pub tighten: bool,
}

/// What is there. Values are told by their HMAC-SHA-256 under the question's key.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Pm2 {
    /// `HOME`.
    pub directory: PathBuf,
    /// `PM2_HOME`.
    pub home: PathBuf,
    /// `PATH`, which begins with node's directory.
    pub path: String,
    /// The program.
    pub program: PathBuf,
    /// How it is with each process.
    pub processes: Vec<Looked>,
    /// The processes of the question's apps.
    pub running: Vec<Running>,
    /// The list that PM2 starts after a reboot; none where none is saved.
    pub saved: Option<Saved>,
}

/// A process that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Looked {
    /// It is no process of the daemon, or not any more.
    Gone,
    /// It is one, and its user may not look into it.
    Unreadable,
    /// What it has of each variable, in the order of the question.
    Has(Vec<Option<String>>),
}

/// A process of an app, whether or not PM2 has it in its list.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Running {
    /// The app.
    pub app: String,
    /// The process.
    pub pid: u32,
    /// What it has of each variable, as far as it shows that.
    pub values: Vec<Option<String>>,
}

/// What `pm2 save` has written.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Saved {
    /// The names of all its processes.
    pub names: Vec<String>,
    /// What those of the question's apps have of each variable, with the app.
    pub values: Vec<(String, Vec<Option<String>>)>,
}

/// Answers a question, as the user that it is about: one that this process becomes for good, or that it is already.
pub(super) fn answer(question: &Pm2Question, becomes: bool) -> Result<Pm2, NotDone> {
    let user = user(&question.user)?;
    if becomes {
        become_user(user.uid, user.gid, &[])
            .map_err(|error| no(format!("cannot become {}: {error}", question.user), ""))?;
    }
    if geteuid().as_raw() != user.uid {
        return Err(no(format!("the PM2 of {} is another user's", question.user), "run it as that user"));
    }
    let home = question.home.clone().unwrap_or_else(|| user.directory.join(".pm2"));
    if user.uid == 0 {
        of_root_alone(&question.ecosystem)?;
        of_root_alone(&home)?;
    }
    let Daemon { pid: daemon, gid } = daemon(question, &home)?;
    let environment = match environment(daemon) {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            return Err(unreadable(&user, question, gid));
        }
        read => read.unwrap_or_default(),
    };
    let node = question.node.clone().or_else(|| runs(daemon)).and_then(|node| Some(node.parent()?.to_owned()));
    let path = path(&environment, node.as_deref());
    let program = program(question, &path)?;
    if user.uid == 0 {
        of_root_alone(&program)?;
    }
    let key: [u8; 32] = hex::decode(&question.key).ok().and_then(|key| key.try_into().ok()).unwrap_or_default();
    let told = |value: &[u8]| hex::encode(digest(&key, value));
    let values = |environment: &[u8]| -> Vec<Option<String>> {
        question.variables.iter().map(|name| variable(environment, name).map(|value| told(&value))).collect()
    };
    let has = |pid: &u32| match look(*pid, daemon) {
        Look::Gone => Looked::Gone,
        Look::Unreadable => Looked::Unreadable,
        Look::At(environment) => Looked::Has(values(&environment)),
    };
    let processes = question.pids.iter().map(has).collect();
    let of_app = |pid: u32| {
        let Look::At(environment) = look(pid, daemon) else { return None };
        let app = String::from_utf8(variable(&environment, "name")?.to_vec()).ok()?;
        question.apps.contains(&app).then(|| Running { app, pid, values: values(&environment) })
    };
    let running = all_processes().filter_map(of_app).collect();
    if question.tighten {
        tighten(&home)?;
    }
    let saved = saved(&home, question, &told)?;
    Ok(Pm2 { directory: user.directory, home, path, program, processes, running, saved })
}

pub(super) struct User {
    pub(super) uid: u32,
    gid: u32,
    directory: PathBuf,
}

/// By all sources of the host, passwd(5) and others: getent(1).
pub(super) fn user(name: &str) -> Result<User, NotDone> {
    let ran = Command::new("/usr/bin/getent").args(["passwd", "--", name]).env_clear().stdin(Stdio::null()).output();
    let text = ran.map_err(|error| no(format!("cannot look for the user {name}: {error}"), ""))?.stdout;
    let text = String::from_utf8_lossy(&text);
    let fields: Vec<&str> = text.trim_end().split(':').collect();
    let number = |at: usize| fields.get(at).and_then(|field| field.parse().ok());
    match (number(2), number(3), fields.get(5)) {
        (Some(uid), Some(gid), Some(directory)) if fields[0] == name => {
            Ok(User { uid, gid, directory: directory.into() })
        }
        _ => Err(no(
            format!("there is no user {name}"),
            "mend `user`: whose processes are the apps? ps -C node -o user,args",
        )),
    }
}

/// The daemon of PM2.
struct Daemon {
    pid: u32,
    gid: u32,
}

/// The daemon, which must answer: any call of PM2 would start another one.
fn daemon(question: &Pm2Question, home: &Path) -> Result<Daemon, NotDone> {
    let name = &question.user;
    let start = format!("start it as {name}: systemctl start pm2-{name}, or pm2 resurrect; or mend `user` and `home`");
    if !home.join("pm2.pid").exists() {
        return Err(no(format!("no PM2 of {name} runs in {}", home.display()), start));
    }
    let connected = UnixStream::connect(home.join("rpc.sock"));
    let socket = connected.map_err(|error| no(format!("PM2 in {} does not answer: {error}", home.display()), start))?;
    let peer = socket_peercred(&socket).map_err(|error| no(format!("cannot see whose PM2 it is: {error}"), ""))?;
    if peer.uid != geteuid() {
        let problem = format!("PM2 in {} is of the user {}, not of {name}", home.display(), peer.uid.as_raw());
        return Err(no(problem, "end that one, and start it as the user whose apps they are"));
    }
    Ok(Daemon { pid: peer.pid.as_raw_nonzero().get().cast_unsigned(), gid: peer.gid.as_raw() })
}

/// Why what the daemon and its apps were given cannot be seen: ptrace(2) asks for the same user and group, and for no
/// capability that who looks has not.
fn unreadable(user: &User, question: &Pm2Question, gid: u32) -> NotDone {
    let name = &question.user;
    let other = "or use a [[target]] with type = \"command\"";
    if user.uid == 0 {
        let problem = "nobody but root with all capabilities may look into the processes of root's PM2, and rekeyd's helper has few";
        return no(problem, format!("run the apps by the PM2 of a user of their own, {other}"));
    }
    if gid != user.gid {
        let problem = format!(
            "PM2 of {name} runs with the group {gid} and not with that of {name} ({}), so its processes cannot be looked into",
            user.gid
        );
        return no(problem, format!("start it with that group (Group= in its unit), {other}"));
    }
    let problem = format!("PM2 of {name} has capabilities, so its processes cannot be looked into");
    no(problem, format!("take them from it (AmbientCapabilities= in its unit, setcap -r for its node), {other}"))
}

/// The node that runs a process.
fn runs(pid: u32) -> Option<PathBuf> {
    let program = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    // An upgrade may have put another one in its place.
    let name = program.to_str()?;
    Some(PathBuf::from(name.strip_suffix(" (deleted)").unwrap_or(name))).filter(|program| program.exists())
}

/// The daemon's own, with node's directory first.
fn path(environment: &[u8], node: Option<&Path>) -> String {
    let own = assigned(environment, "PATH").and_then(|path| std::str::from_utf8(path).ok());
    let own = own.filter(|path| !path.is_empty()).unwrap_or("/usr/local/bin:/usr/bin:/bin");
    match node.and_then(Path::to_str) {
        Some(node) if own.split(':').next() != Some(node) => format!("{node}:{own}"),
        _ => own.to_owned(),
    }
}

fn program(question: &Pm2Question, path: &str) -> Result<PathBuf, NotDone> {
    let runs = |program: &PathBuf| program.is_file() && rustix::fs::access(program, Access::EXEC_OK).is_ok();
    let places = path.split(':').chain(["/usr/local/bin", "/usr/bin"]);
    let mut usual = places.filter(|place| place.starts_with('/')).map(|place| Path::new(place).join("pm2"));
    let found = match &question.pm2 {
        Some(program) => Some(program.clone()).filter(runs),
        None => usual.find(runs),
    };
    found.ok_or_else(|| {
        let where_to = question.pm2.as_ref().map_or_else(|| path.to_owned(), |program| program.display().to_string());
        no(format!("the program pm2 is not there: {where_to}"), "say where it is: pm2 = \"/…/bin/pm2\"")
    })
}

fn no(problem: impl Into<String>, advice: impl Into<String>) -> NotDone {
    NotDone { problem: problem.into(), advice: advice.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn question() -> Pm2Question {
        Pm2Question {
            user: "app".to_owned(),
            home: None,
            pm2: None,
            node: None,
            ecosystem: "/srv/ecosystem.config.cjs".into(),
            pids: Vec::new(),
            apps: vec!["api".to_owned()],
            variables: vec!["K".to_owned()],
            key: String::new(),
            tighten: false,
        }
    }

    #[test]
    fn why_processes_cannot_be_looked_into_is_said_in_words() {
        let why = |uid, gid| {
            let user = User { uid, gid: if uid == 0 { 0 } else { 1000 }, directory: "/".into() };
            let NotDone { problem, advice } = unreadable(&user, &question(), gid);
            assert!(advice.contains("type = \"command\""), "{advice}");
            problem
        };
        assert!(why(0, 0).contains("root's PM2"));
        assert!(why(1000, 33).contains("runs with the group 33 and not with that of app (1000)"));
        assert!(why(1000, 1000).contains("has capabilities"));
    }

    #[test]
    fn nodes_directory_comes_first() {
        assert_eq!(path(b"PATH=/usr/bin:/bin", Some(Path::new("/usr/bin"))), "/usr/bin:/bin");
        assert_eq!(path(b"PATH=/bin", Some(Path::new("/opt/node/bin"))), "/opt/node/bin:/bin");
        assert_eq!(path(b"", None), "/usr/local/bin:/usr/bin:/bin");
    }
}
