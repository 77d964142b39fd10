//! Looking at a platform without the daemon: whether the token, the ids and the variables are there, and what would
//! happen.

use std::time::Duration;

use tokio::time::Instant;

use super::platform::State;
use super::{HostingTarget, step};
use crate::config::{Hosting, SecretSettings};
use crate::rotation::Fault;

/// Looks at one target of `secret`, touching nothing. Returns lines for a person.
///
/// # Errors
/// What a rotation would be refused for.
pub async fn inspect(secret: &SecretSettings, settings: &Hosting) -> Result<Vec<String>, Fault> {
    let target = HostingTarget::new(secret, settings);
    let until = Instant::now() + Duration::from_secs(60);
    let sight = target.platform.survey(&target.keys(), until).await;
    let sight = sight.map_err(|refusal| target.before(refusal))?;
    if !sight.missing.is_empty() && !target.create {
        return Err(target.before(super::missing(&target.label, &sight.missing)));
    }
    let mut lines = vec!["the token reaches it".to_owned()];
    lines.extend(sight.told);
    lines.extend(sight.missing.iter().map(|key| format!("{key} is not there, and would be made")));
    match &sight.serving {
        Some(serving) => {
            target.check_is_well(serving).map_err(|refusal| target.before(refusal))?;
            let line = format!(
                "{} is served ({}) and would be deployed anew {}",
                step::name(serving),
                step::told(serving),
                serving.page
            );
            lines.push(line.trim_end().to_owned());
        }
        None if target.platform.redeploys() => return Err(target.before(target.serves_nothing())),
        None => lines.push(
            "it serves nothing yet: rekeyctl rotate --initial would deploy it, and without that it is refused"
                .to_owned(),
        ),
    }
    if let Some(at) = target.in_the_way(&sight.recent) {
        if at.state == State::Blocked {
            return Err(target.before(target.is_under_way(at)));
        }
        lines.push(format!("{} is under way ({}), and would be waited for", step::name(at), step::told(at)));
    }
    Ok(lines)
}
