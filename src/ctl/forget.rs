//! `forget`: letting go of a secret.

use super::acting::act;
use super::{Exit, Out, daemon, document};
use crate::dbus::rekeyd1::{Error, Forgotten};

pub(super) async fn run(out: &Out, name: &str) -> Exit {
    let forgotten: Result<Forgotten, Error> = async {
        let forgotten: String = act(&daemon().await?, "Forget", &(name,)).await?;
        document(&forgotten)
    }
    .await;
    match forgotten {
        Ok(forgotten) if out.json => out.document(&forgotten),
        Ok(forgotten) => out.text(&in_words(name, &forgotten)),
        Err(error) => return out.error(&error),
    }
    Exit::Done
}

fn in_words(name: &str, forgotten: &Forgotten) -> String {
    let mut lines = vec![format!("{name}: forgotten; nothing was restarted, and the records are kept")];
    if let (Some(delivered), false) = (&forgotten.delivered, forgotten.drop_ins.is_empty()) {
        lines.push(format!("its value stays in {delivered}, where these have the services read it:"));
        lines.extend(forgotten.drop_ins.iter().map(|drop_in| format!("  {drop_in}")));
        lines.push(format!(
            "once it stands somewhere else: remove them, type systemctl daemon-reload, and rekeyctl forget {name} again"
        ));
    }
    if !forgotten.elsewhere.is_empty() {
        lines.push(format!("its value stays as it is at: {}", forgotten.elsewhere.join(", ")));
    }
    if !forgotten.accepted.is_empty() {
        let accepted: Vec<String> = forgotten.accepted.iter().map(ToString::to_string).collect();
        lines.push(format!(
            "generation {} stays accepted beside it, and nothing ends that now: remove it once its tokens have expired",
            accepted.join(" and ")
        ));
    }
    if let Some(file) = &forgotten.file {
        lines.push(format!("{file} still configures it: remove that, and type rekeyctl reload"));
    }
    lines.join("\n")
}
