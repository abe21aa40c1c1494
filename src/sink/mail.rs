//! The same by mail, over the server that windlass.toml names.

use std::time::Duration;

use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};

use super::Letter;
use crate::config::Mail;
use crate::error::{Error, Result};

const PATIENCE: Duration = Duration::from_secs(10);

pub(super) struct Mailer {
    from: Mailbox,
    transport: AsyncSmtpTransport<Tokio1Executor>,
}

impl Mailer {
    /// # Errors
    /// `Invalid` with the key of windlass.toml.
    pub fn new(mail: &Mail) -> Result<Self> {
        let from =
            mail.from.parse::<Mailbox>().map_err(|wrong| Error::invalid("mail.from", format!("{:?}: {wrong}", mail.from)))?;
        // Not the URL itself: a password may stand in it.
        let transport = AsyncSmtpTransport::<Tokio1Executor>::from_url(&mail.smtp).map_err(|wrong| {
            Error::invalid("mail.smtp", format!("{wrong}; write as in \"smtp://user:password@host:587?tls=required\""))
        })?;
        Ok(Self { from, transport: transport.timeout(Some(PATIENCE)).build() })
    }

    pub async fn send(&self, letter: &Letter, to: &str) -> std::result::Result<(), String> {
        let to = to.parse::<Mailbox>().map_err(|wrong| format!("{to:?} is no address: {wrong}"))?;
        let message = Message::builder()
            .from(self.from.clone())
            .to(to)
            .subject(format!("[windlass] {}", letter.title()))
            .header(ContentType::TEXT_PLAIN)
            .message_id(Some(format!("<{}@windlass>", letter.id)))
            .body(letter.lines()[1..].join("\n\n") + "\n")
            .map_err(|wrong| wrong.to_string())?;
        let sent = tokio::time::timeout(PATIENCE, self.transport.send(message)).await;
        sent.map_err(|_| "no answer of the mail server within 10 s".to_owned())?.map(drop).map_err(|wrong| wrong.to_string())
    }
}
