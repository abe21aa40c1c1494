//! NATS JetStream: messages of a stream that a consumer has not been given yet.

use std::net::SocketAddr;

use async_nats::jetstream::context::ConsumerInfoErrorKind;
use async_nats::{ConnectErrorKind, ConnectOptions, jetstream};

use super::{Fault, TIME_LIMIT, number};
use crate::domain::backlog::Measurement;
use crate::domain::probe::Address;
use crate::egress::Egress;

pub async fn measure(
    egress: &Egress,
    at: &Address,
    secret: Option<&str>,
    stream: &str,
    consumer: &str,
    address: SocketAddr,
) -> Result<Measurement, Fault> {
    let mut options = ConnectOptions::new()
        .name("windlass")
        .connection_timeout(TIME_LIMIT)
        .request_timeout(Some(TIME_LIMIT))
        .max_reconnects(1)
        // A server may name others; none of those was checked.
        .ignore_discovered_servers();
    options = match (&at.user, secret) {
        (Some(user), secret) => options.user_and_password(user.clone(), secret.unwrap_or_default().to_owned()),
        (None, Some(token)) => options.token(token.to_owned()),
        (None, None) => options,
    };
    // Inside TLS the name is what the other side proves (ADR 22); in the clear it is the checked address.
    let server = if at.origin.scheme.is_tls() {
        options = options.tls_client_config(egress.tls().as_ref().clone()).require_tls(true);
        format!("tls://{}:{}", at.origin.host, at.origin.port)
    } else {
        format!("nats://{address}")
    };
    let client = options.connect(server).await.map_err(|wrong| match wrong.kind() {
        ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => Fault::answered(wrong),
        ConnectErrorKind::TimedOut => Fault::failing(wrong),
        _ => Fault::unreachable(wrong),
    })?;
    let standing = jetstream::new(client).get_stream_no_info(stream).await.map_err(Fault::failing)?;
    let info = standing.consumer_info(consumer).await.map_err(|wrong| match wrong.kind() {
        ConsumerInfoErrorKind::TimedOut => Fault::failing(wrong),
        _ => Fault::answered(wrong),
    })?;
    Ok(number::counted(info.num_pending))
}
