//! Which names a variable may have.

use std::ops::Range;

use super::report::Mistake;
use crate::text::env_file::is_name;

/// Families of variables that change how programs are found, loaded or run, or that systemd itself sets.
const PREFIXES: &[&str] = &["LD_", "DYLD_", "MALLOC_", "LC_", "BASH_FUNC_", "NPM_CONFIG_", "SYSTEMD_", "LISTEN_"];

/// Variables that change how programs are found, loaded or run.
const LOADERS: &[&str] = &[
    "BASHOPTS",
    "BASH_ENV",
    "CDPATH",
    "CLASSPATH",
    "CORECLR_PROFILER",
    "CORECLR_PROFILER_PATH",
    "DOTNET_STARTUP_HOOKS",
    "EDITOR",
    "ENV",
    "GCONV_PATH",
    "GEM_HOME",
    "GEM_PATH",
    "GETCONF_DIR",
    "GIT_SSH_COMMAND",
    "GLIBC_TUNABLES",
    "HOME",
    "HOSTALIASES",
    "IFS",
    "JAVA_TOOL_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "LANG",
    "LANGUAGE",
    "LOCALDOMAIN",
    "LOCPATH",
    "LOGNAME",
    "LUA_CPATH",
    "LUA_INIT",
    "LUA_PATH",
    "NLSPATH",
    "NODE_EXTRA_CA_CERTS",
    "NODE_OPTIONS",
    "NODE_PATH",
    "OLDPWD",
    "OPENSSL_CONF",
    "OPENSSL_ENGINES",
    "OPENSSL_MODULES",
    "PAGER",
    "PATH",
    "PERL5DB",
    "PERL5LIB",
    "PERL5OPT",
    "PERLLIB",
    "PHPRC",
    "PHP_INI_SCAN_DIR",
    "PROMPT_COMMAND",
    "PS4",
    "PWD",
    "PYTHONHOME",
    "PYTHONINSPECT",
    "PYTHONPATH",
    "PYTHONSTARTUP",
    "PYTHONUSERBASE",
    "PYTHONWARNINGS",
    "RES_OPTIONS",
    "RUBYLIB",
    "RUBYOPT",
    "SHELL",
    "SHELLOPTS",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "TERM",
    "TMPDIR",
    "TZ",
    "TZDIR",
    "USER",
    "VISUAL",
    "_",
    "_JAVA_OPTIONS",
];

/// Variables that systemd sets for each service (systemd.exec(5)).
const SYSTEMD: &[&str] = &[
    "CACHE_DIRECTORY",
    "CONFIGURATION_DIRECTORY",
    "CREDENTIALS_DIRECTORY",
    "EXIT_CODE",
    "EXIT_STATUS",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "LOGS_DIRECTORY",
    "MAINPID",
    "MEMORY_PRESSURE_WATCH",
    "MEMORY_PRESSURE_WRITE",
    "NOTIFY_SOCKET",
    "RUNTIME_DIRECTORY",
    "SERVICE_RESULT",
    "STATE_DIRECTORY",
    "TRIGGER_UNIT",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "XDG_RUNTIME_DIR",
];

/// A variable's name: letters, digits and `_`, no digit first (POSIX.1-2024, XBD 3.206), and none that changes how
/// programs are found, loaded or run.
pub(super) fn env_name(name: &str) -> Result<String, Mistake> {
    let advice = "give the name of the variable that the consumer reads, as \"JWT_SECRET\"";
    if assigned(name).is_some() {
        let advice = "write the name only; rekeyd makes the value, and takes over one in force with `rekeyctl adopt`";
        return Err(Mistake::new("this is a name with a value", advice));
    }
    if !is_name(name) {
        return Err(Mistake::new(format!("{name:?} is not the name of a variable"), advice));
    }
    if name.len() > 128 {
        return Err(Mistake::new("the name is longer than 128 characters", advice));
    }
    let upper = name.to_ascii_uppercase();
    if SYSTEMD.contains(&name) || LOADERS.contains(&upper.as_str()) || PREFIXES.iter().any(|p| upper.starts_with(p)) {
        let message = format!("{name} is not a secret: programs or systemd itself act on it");
        return Err(Mistake::new(message, advice));
    }
    Ok(name.to_owned())
}

/// The part of a name after its first `=`: perhaps a secret that somebody wrote into the configuration.
pub(super) fn assigned(name: &str) -> Option<Range<usize>> {
    name.find('=').map(|at| at + 1..name.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_secrets_pass() {
        for name in ["JWT_SECRET", "a", "_x", "SESSION_KEY2", "HOMEPAGE_TOKEN", "NODE_SECRET", "PATH_SECRET"] {
            assert!(env_name(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn names_that_are_none_or_that_programs_obey_do_not() {
        for name in ["", "1A", "A-B", "A B", "Ä", "A\n", "PATH", "LD_PRELOAD", "NODE_OPTIONS", "ENV", "IFS", "home"] {
            assert!(env_name(name).is_err(), "{name}");
        }
        let mistake = env_name("JWT_SECRET=geheim").unwrap_err();
        assert!(!format!("{mistake:?}").contains("geheim"));
    }
}
