//! Redis: the length of a list or a stream, or how far a consumer group is behind.

use std::net::SocketAddr;

use redis::aio::MultiplexedConnection;
use redis::streams::StreamInfoGroupsReply;
use redis::{AsyncConnectionConfig, Cmd, FromRedisValue, RedisConnectionInfo, RedisError, cmd};

use super::{Fault, MOST, TIME_LIMIT, number};
use crate::domain::backlog::Measurement;
use crate::domain::probe::Address;
use crate::egress::{Bounded, Egress};

pub async fn list(
    egress: &Egress,
    at: &Address,
    secret: Option<&str>,
    key: &str,
    address: SocketAddr,
) -> Result<Measurement, Fault> {
    asked(egress, at, secret, address, cmd("LLEN").arg(key)).await.map(number::counted)
}

pub async fn stream(
    egress: &Egress,
    at: &Address,
    secret: Option<&str>,
    stream: &str,
    group: Option<&str>,
    address: SocketAddr,
) -> Result<Measurement, Fault> {
    let Some(group) = group else {
        return asked(egress, at, secret, address, cmd("XLEN").arg(stream)).await.map(number::counted);
    };
    let found: StreamInfoGroupsReply = asked(egress, at, secret, address, cmd("XINFO").arg("GROUPS").arg(stream)).await?;
    let found = found.groups.into_iter().find(|found| found.name == group);
    let found = found.ok_or_else(|| Fault::answered(format!("the stream {stream} has no consumer group {group}")))?;
    let unknown = || {
        Fault::answered(format!(
            "how far {group} is behind is not known to Redis (7 or newer knows, unless entries were deleted in the middle)"
        ))
    };
    let lag = found.lag.ok_or_else(unknown)?;
    Ok(number::counted(lag as u64))
}

/// Over the connection that the egress has made.
async fn asked<T: FromRedisValue>(
    egress: &Egress,
    at: &Address,
    secret: Option<&str>,
    address: SocketAddr,
    ask: &Cmd,
) -> Result<T, Fault> {
    let (stream, _) = egress.connect(&at.origin, &[address], TIME_LIMIT).await?;
    let stream = Bounded::new(egress.secured(&at.origin, stream).await?, MOST as u64);
    let mut info = RedisConnectionInfo::default().set_db(at.path.parse().unwrap_or(0)).set_skip_set_lib_name();
    if let Some(user) = &at.user {
        info = info.set_username(user);
    }
    if let Some(secret) = secret {
        info = info.set_password(secret);
    }
    let config = AsyncConnectionConfig::new().set_response_timeout(Some(TIME_LIMIT));
    let (mut connection, driver) =
        MultiplexedConnection::new_with_config(&info, stream, config).await.map_err(|wrong| fault(&wrong))?;
    tokio::select! {
        answer = ask.query_async(&mut connection) => answer.map_err(|wrong| fault(&wrong)),
        () = driver => Err(Fault::failing("the connection broke off")),
    }
}

fn fault(wrong: &RedisError) -> Fault {
    if wrong.is_io_error() || wrong.is_connection_dropped() || wrong.is_timeout() {
        Fault::failing(wrong)
    } else {
        Fault::answered(wrong)
    }
}
