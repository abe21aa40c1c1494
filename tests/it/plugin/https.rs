//! HTTPS out: public roots, and those that the operator adds.

use std::sync::Arc;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use windlass::domain::grant::{Ceiling, Grant, HttpGrant};
use windlass::plugin::{Executor, Sandbox};

use super::{data, guests, sandbox_with, work};

const ROOT: &[u8] = include_bytes!("tls/ca.pem");

/// Answers every request with "ok", over TLS.
async fn server() -> u16 {
    let chain = CertificateDer::pem_slice_iter(include_bytes!("tls/server.pem")).collect::<Result<Vec<_>, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("tls/server.key")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            // A client that does not trust us goes away here.
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok").await;
            let _ = stream.shutdown().await;
        }
    });
    port
}

async fn get(sandbox: &Sandbox, digest: &str, origin: &str) -> serde_json::Value {
    let mut work = work(digest, &json!({ "attack": "http", "url": format!("{origin}/") }));
    let http = vec![HttpGrant { host: origin.to_owned(), methods: vec!["GET".into()] }];
    work.grant = Arc::new(Grant { http, ..Grant::default() });
    let networks = vec!["127.0.0.0/8".into(), "::1".into()];
    work.ceiling = Arc::new(Ceiling { hosts: vec![origin.to_owned()], networks, ..Ceiling::default() });
    data(&sandbox.execute(work).await)
}

#[tokio::test]
async fn a_root_that_the_operator_added_is_trusted_and_others_are_not() {
    let port = server().await;
    let folder = tempfile::tempdir().unwrap();
    for (roots, answer) in [(ROOT, "ok"), (&b""[..], "TlsCertificateError")] {
        let sandbox = sandbox_with(folder.path(), roots);
        let digest = sandbox.catalog().add(guests::hostile().to_vec()).await.unwrap().digest;
        for host in ["127.0.0.1", "localhost"] {
            let told = get(&sandbox, &digest, &format!("https://{host}:{port}")).await;
            assert!(told["body"] == answer || told["code"] == answer, "{host}: {told}");
        }
    }
}

#[tokio::test]
async fn a_root_that_is_none_is_refused() {
    let garbled = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let wrong = super::egress(garbled).err().unwrap();
    assert!(wrong.to_string().contains("network.extra_ca"), "{wrong}");
}
