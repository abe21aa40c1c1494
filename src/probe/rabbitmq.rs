//! RabbitMQ: messages of a queue that wait for a consumer. The declaration is passive: it makes nothing.

use std::net::SocketAddr;

use lapin::options::QueueDeclareOptions;
use lapin::tcp::{AsyncTcpStream, OwnedTLSConfig};
use lapin::types::FieldTable;
use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo};
use lapin::{Connection, ConnectionProperties, Error, ErrorKind};

use super::{Fault, number};
use crate::domain::backlog::Measurement;
use crate::domain::probe::Address;
use crate::egress::Egress;

pub async fn measure(
    egress: &Egress,
    at: &Address,
    secret: Option<&str>,
    queue: &str,
    address: SocketAddr,
) -> Result<Measurement, Fault> {
    let uri = uri(at, secret);
    let roots = String::from_utf8_lossy(egress.extra_roots()).into_owned();
    let trusts = OwnedTLSConfig { identity: None, cert_chain: Some(roots).filter(|roots| !roots.is_empty()) };
    let runtime = lapin::runtime::default_runtime().map_err(|wrong| fault(&wrong))?;
    // To the address that was checked; inside TLS the other side proves that it is the host.
    let connect = async move |uri: AMQPUri, runtime| {
        let connected = async {
            let stream = AsyncTcpStream::connect(&runtime, address).await?;
            match uri.scheme {
                AMQPScheme::AMQP => Ok(stream),
                AMQPScheme::AMQPS => stream.into_tls(&uri.authority.host, trusts.as_ref()).await,
            }
        };
        connected.await.map_err(|wrong: std::io::Error| Error::from(wrong))
    };
    let connection = Connection::connector(uri, runtime, connect, ConnectionProperties::default()).await;
    let connection = connection.map_err(|wrong| fault(&wrong))?;
    let counted = async {
        let channel = connection.create_channel().await?;
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(queue.into(), options, FieldTable::default()).await
    };
    let counted = counted.await;
    // Said for courtesy: it closes with its handle in any case.
    let _ = connection.close(200, "measured".into()).await;
    counted.map(|queue| number::counted(u64::from(queue.message_count()))).map_err(|wrong| fault(&wrong))
}

fn uri(at: &Address, secret: Option<&str>) -> AMQPUri {
    let user = match (&at.user, secret) {
        // As RabbitMQ comes; it takes this one from its own machine only.
        (None, None) => AMQPUserInfo { username: "guest".into(), password: "guest".into() },
        (user, secret) => AMQPUserInfo {
            username: user.clone().unwrap_or_else(|| "guest".into()),
            password: secret.unwrap_or_default().to_owned(),
        },
    };
    let (host, port) = (at.origin.host.clone(), at.origin.port);
    AMQPUri {
        scheme: if at.origin.scheme.is_tls() { AMQPScheme::AMQPS } else { AMQPScheme::AMQP },
        authority: AMQPAuthority { userinfo: user, host, port },
        vhost: if at.path.is_empty() { "/".into() } else { at.path.clone() },
        // Room for a frame is made before it comes, as large as the server wants them; this is what RabbitMQ wants.
        query: AMQPQueryString { frame_max: Some(128 * 1024), ..AMQPQueryString::default() },
    }
}

fn fault(wrong: &Error) -> Fault {
    match wrong.kind() {
        ErrorKind::IOError(_) => Fault::unreachable(wrong),
        ErrorKind::ProtocolError(_) => Fault::answered(wrong),
        _ => Fault::failing(wrong),
    }
}
