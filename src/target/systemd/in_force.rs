//! Whether systemd would start a unit with what was delivered. `NeedDaemonReload` does not tell: what is loaded is
//! compared with what is wanted.

use super::SystemdTarget;
use crate::dbus::unit::UnitStatus;
use crate::helper::{Answer, Question, Variable};
use crate::rotation::{Fault, FaultCode};

impl SystemdTarget {
    /// Why a daemon-reload is needed before a restart takes up the view.
    pub(super) async fn why_reload(&self) -> Result<Option<String>, Fault> {
        if self.always_reload {
            return Ok(Some("the configuration says daemon-reload = \"always\"".to_owned()));
        }
        for unit in &self.units {
            let status = self.systemd.unit(unit).await?;
            if let Some(reason) = self.not_loaded(unit, &status) {
                return Ok(Some(reason));
            }
        }
        Ok(None)
    }

    /// What of our drop-in systemd has not loaded.
    fn not_loaded(&self, unit: &str, status: &UnitStatus) -> Option<String> {
        let drop_in = self.drop_in(unit).display().to_string();
        let env_file = self.env_file().display().to_string();
        if !status.drop_in_paths.contains(&drop_in) {
            Some(format!("the drop-in of {unit} is new"))
        } else if !status.environment_files.iter().any(|(path, _)| *path == env_file) {
            Some(format!("the drop-in of {unit} that is loaded is another one"))
        } else {
            None
        }
    }

    /// Whether each unit would start with the view, now that systemd has read its files.
    pub(super) async fn check_in_force(&self) -> Result<(), Fault> {
        for unit in &self.units {
            let status = self.systemd.unit(unit).await?;
            if let Some(reason) = self.not_loaded(unit, &status) {
                let message = format!("systemd does not use the drop-in of {unit} though it has reloaded: {reason}");
                return Err(Fault::new(FaultCode::Overridden, message)
                    .advise(format!("see what it uses: systemctl cat {unit}")));
            }
            self.check_overridden(unit, &status).await?;
        }
        Ok(())
    }

    /// What of the administrator's would win over the view: a later environment file that sets the variable too, or
    /// `UnsetEnvironment=`. (A variable of an environment file always wins over `Environment=`.)
    pub(super) async fn check_overridden(&self, unit: &str, status: &UnitStatus) -> Result<(), Fault> {
        let env_file = self.env_file().display().to_string();
        let overridden = |what: String| {
            Fault::new(FaultCode::Overridden, format!("{what}, which wins over what rekeyd delivers to {unit}"))
                .advise(format!("take it out of there: systemctl cat {unit} shows where it comes from"))
        };
        for name in self.variables() {
            let names_it = |unset: &String| unset == name || unset.starts_with(&format!("{name}="));
            if status.unset_environment.iter().any(names_it) {
                return Err(overridden(format!("UnsetEnvironment= names {name}")));
            }
        }
        let ours = status.environment_files.iter().position(|(path, _)| *path == env_file);
        let Some(ours) = ours else { return Ok(()) };
        let later = status.environment_files[ours + 1..].iter().map(|(path, _)| path);
        let asked: Vec<(&String, &str)> =
            later.flat_map(|path| self.variables().map(move |name| (path, name))).collect();
        let question = |&(path, name): &(&String, &str)| Question::File {
            path: path.clone(),
            variable: name.to_owned(),
            reveal: false,
        };
        let questions: Vec<Question> = asked.iter().map(question).collect();
        for ((path, name), answer) in asked.iter().zip(self.helper.ask(&questions).await?) {
            if let Answer::Variable { variable: Variable::Set } = answer {
                return Err(overridden(format!("the later EnvironmentFile={path} sets {name}")));
            }
        }
        Ok(())
    }
}
