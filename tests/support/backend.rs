//! Units whose secret is rotated.

use sha2::{Digest, Sha256};

use super::{Builder, Machine};

/// The value that a backend has at first.
pub const FIRST_VALUE: &str = "first-value-0123456789abcdef0123456789abcdef";

/// A service that runs the example `toy-backend` (see `tests/backend/toy.rs` for its faults) on a port of its own.
#[derive(Clone, Debug)]
pub struct Backend {
    name: String,
    port: u16,
    mode: String,
    env_file: bool,
    enabled: bool,
    unit: String,
    service: String,
}

impl Backend {
    /// `my-backend.service` on port 3000, `Type=notify`, the value in `Environment=`, without any fault.
    pub fn good() -> Self {
        Self::named("my-backend", 3000)
    }

    /// One of another name.
    pub fn named(name: &str, port: u16) -> Self {
        Self {
            name: name.to_owned(),
            port,
            mode: String::new(),
            env_file: false,
            enabled: true,
            unit: String::new(),
            service: String::new(),
        }
    }

    /// With a fault that shows with a new value only: `fault("exits-after-ready 500")`.
    pub fn fault(mut self, fault: &str) -> Self {
        self.mode += &format!("{fault}\n");
        self
    }

    /// With a fault that is always there.
    pub fn always(self, fault: &str) -> Self {
        self.fault(&format!("always {fault}"))
    }

    /// With the value in `EnvironmentFile=/etc/NAME.env` (mode 0600) in place of `Environment=`.
    pub fn env_file(mut self) -> Self {
        self.env_file = true;
        self
    }

    /// Not started at boot.
    pub fn stopped(mut self) -> Self {
        self.enabled = false;
        self
    }

    /// With a further line of its `[Unit]`: `unit("PartOf=other.service")`.
    pub fn unit(mut self, line: &str) -> Self {
        self.unit += &format!("{line}\n");
        self
    }

    /// With a further line of its `[Service]`: `service("Restart=always")`; it overrides what the fixture says.
    pub fn service(mut self, line: &str) -> Self {
        self.service += &format!("{line}\n");
        self
    }

    /// From now on the running backend has this fault with every value but the one that it has now. Faults that need the
    /// value of its first start cannot come later.
    pub fn break_now(&self, machine: &Machine, fault: &str) {
        let unit = format!("{}.service", self.name);
        let value = machine.variable(&unit, "JWT_SECRET").into_iter().find_map(|(_, value)| value);
        machine.put(&self.home("old-value-sha256"), 0o644, sha256(&value.expect("a running backend with a value")));
        machine.put(&self.home("mode"), 0o644, fault);
    }

    /// From its next start on the backend has no fault any more.
    pub fn mend(&self, machine: &Machine) {
        machine.put(&self.home("mode"), 0o644, "");
    }

    /// Puts program, unit and files in place.
    pub(super) fn install(&self, builder: Builder) -> Builder {
        let Self { name, .. } = self;
        let mut builder = builder
            .example("toy-backend")
            .file(&format!("/etc/systemd/system/{name}.service"), 0o644, self.unit_file())
            .file(&self.home("mode"), 0o644, &self.mode)
            .file(&self.home("old-value-sha256"), 0o644, sha256(FIRST_VALUE))
            .file("/etc/rekeyd/login.json", 0o600, LOGIN);
        if self.env_file {
            builder =
                builder.file(&format!("/etc/{name}.env"), 0o600, format!("JWT_SECRET=\"{FIRST_VALUE}\"\nOTHER=kept\n"));
        }
        if self.enabled {
            let wants = format!("/etc/systemd/system/multi-user.target.wants/{name}.service");
            builder = builder.link(&wants, &format!("../{name}.service"));
        }
        builder
    }

    fn home(&self, file: &str) -> String {
        format!("/etc/toy/{}/{file}", self.name)
    }

    fn unit_file(&self) -> String {
        let Self { name, port, unit, service, .. } = self;
        let secret = if self.env_file {
            format!("EnvironmentFile=/etc/{name}.env")
        } else {
            format!("Environment=JWT_SECRET={FIRST_VALUE}")
        };
        format!(
            "[Unit]\nDescription=Backend {name}\n{unit}\n\
             [Service]\nType=notify\nExecStart=/usr/local/bin/toy-backend\n{secret}\n\
             Environment=PORT={port} TOY_HOME=/etc/toy/{name}\nStateDirectory={name}\nUMask=0077\n\
             TimeoutStartSec=5\nTimeoutStopSec=5\n{service}\n\
             [Install]\nWantedBy=multi-user.target\n"
        )
    }
}

/// The body of a login that succeeds.
pub const LOGIN: &str = r#"{"user":"smoke","password":"let-me-in"}"#;

/// A unit file that depends on `my-backend.service` by `how` (`PartOf`, `Requires`, `BindsTo`) and does not come up where
/// that has a new value. For [`Builder::file`].
pub fn dependent(how: &str) -> String {
    format!(
        "[Unit]\n{how}=my-backend.service\nAfter=my-backend.service\n\
         [Service]\nExecStartPre=/bin/sh -c 'pid=$$(systemctl show --value -p MainPID my-backend.service); \
         value=$$(tr \"\\\\0\" \"\\\\n\" < /proc/$$pid/environ | sed -n s/^JWT_SECRET=//p); \
         grep -q $$(printf %%s $$value | sha256sum | cut -c1-64) /etc/toy/my-backend/old-value-sha256'\n\
         ExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n"
    )
}

fn sha256(value: &str) -> String {
    format!("{}\n", hex::encode(Sha256::digest(value)))
}
