//! Stand-ins for secrets: the guest gets a random text, the host puts the value in its place on the way out.

use crate::domain::grant::SecretUse;
use crate::egress::scrub::SHORTEST;
use crate::plugin::bindings::windlass::plugin::secrets::{Host, Refusal};
use crate::plugin::instance::{Context, Guest};
use crate::plugin::journal::{Level, Line};
use crate::plugin::tape::Refused;

/// Bytes of the name of a secret: it stands in messages.
const NAME: usize = 128;

impl Host for Guest {
    fn stand_in(&mut self, secret: String) -> Result<String, Refusal> {
        let (context, secrets) = (&self.context, &self.outgoing.secrets);
        context.journal.asked(|asks| asks.secrets += 1);
        let live = || match allowed(context, &secret) {
            Ok(()) => Ok(secrets.stand_in(&secret).into_bytes()),
            Err(Refusal { code, message }) => {
                let said = format!("stand-in refused: {message}");
                context.journal.log(Line { at: context.clock.now(), level: Level::Warn, message: said, fields: Vec::new() });
                Err(Refused { code, message })
            }
        };
        match context.tape.called("secrets.stand-in", &[secret.as_bytes()], live) {
            Ok(stand_in) => Ok(String::from_utf8_lossy(&stand_in).into_owned()),
            Err(Refused { code, message }) => Err(Refusal { code, message }),
        }
    }
}

fn allowed(context: &Context, name: &str) -> Result<(), Refusal> {
    let refusal = |code: &str, message: String| Err(Refusal { code: code.to_owned(), message });
    if name.len() > NAME {
        return refusal("no-such-secret", format!("a name of a secret has at most {NAME} bytes"));
    }
    let allowing = format!(
        "to allow it: grant.secrets = [{{ name = {name:?}, use = \"header\", header = \"Authorization\", hosts = [\"https://…\"] }}]"
    );
    match context.grant.secret(name) {
        None => return refusal("not-granted", format!("the secret {name:?} is not granted to this job; {allowing}")),
        Some(grant) if grant.usage == SecretUse::Sign => {
            return refusal("not-granted", format!("the secret {name:?} is granted for signing alone; {allowing}"));
        }
        Some(_) => {}
    }
    match context.secrets.get(name) {
        None => refusal(
            "no-such-secret",
            format!("the tenant has no secret {name:?}; set it: windlass secret set {}/{name}", context.tenant),
        ),
        Some(value) if value.0.len() < SHORTEST => {
            let message = format!(
                "the secret {name:?} has fewer than {SHORTEST} bytes: it could not be found in what comes back, so it does not go out"
            );
            refusal("too-short", message)
        }
        Some(_) => Ok(()),
    }
}
