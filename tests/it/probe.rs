//! What a probe may reach: nothing that the tenant's ceiling does not name, and never Windlass itself. docs/probes.md.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use windlass::clock::SystemClock;
use windlass::config::Settings;
use windlass::domain::grant::Ceiling;
use windlass::domain::probe::Source;
use windlass::domain::trigger::BacklogSpec;
use windlass::egress::Egress;
use windlass::probe::{self, Asker};

/// Whoever connects is counted, and gets nothing.
async fn silent() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, came) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&came);
    tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            count.fetch_add(1, SeqCst);
        }
    });
    (address, came)
}

/// One trigger of each kind that goes over the network.
fn kinds(address: SocketAddr) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for (scheme, kind, rest) in [
        ("http", "http", "path = '$.n'"),
        ("http", "prometheus", "query = 'up'"),
        ("postgres", "sql", "query = 'SELECT 1'"),
        ("mysql", "sql", "query = 'SELECT 1'"),
        ("redis", "redis", "key = 'jobs'"),
        ("amqp", "rabbitmq", "queue = 'tasks'"),
        ("nats", "nats", "stream = 'TASKS'\nconsumer = 'worker'"),
    ] {
        let (user, path) = if kind == "sql" { ("reader@", "/shop") } else { ("", "") };
        let url = format!("{scheme}://{user}{address}{path}");
        all.push((format!("{scheme}://{address}"), format!("probe = '{kind}'\nurl = '{url}'\n{rest}\n")));
    }
    all
}

async fn measured(trigger: &str, hosts: &[String], networks: &[&str], own: &[SocketAddr]) -> String {
    let spec: BacklogSpec = toml::from_str(trigger).unwrap();
    let Ok(Source::Away(away)) = Source::of(&spec) else { panic!("{trigger}") };
    let egress = Egress::of(&Settings::default(), own.to_vec(), Arc::new(SystemClock)).unwrap();
    let networks = networks.iter().map(|network| (*network).to_owned()).collect();
    let ceiling = Ceiling { hosts: hosts.to_vec(), networks, ..Ceiling::default() };
    let asker = Asker { tenant: "alpha".into(), ceiling: &ceiling, secret: None };
    probe::measure(&egress, &asker, &away).await.expect_err(trigger)
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_the_ceiling_not_a_byte_is_sent() {
    let (address, came) = silent().await;
    for (origin, trigger) in kinds(address) {
        let hosts = [origin.clone()];
        let wrong = measured(&trigger, &[], &["127.0.0.0/8"], &[]).await;
        assert!(wrong.contains(&format!("{origin} is not within the tenant's ceiling")), "{wrong}");
        let wrong = measured(&trigger, &hosts, &[], &[]).await;
        assert!(wrong.contains("which is not public") && wrong.contains("networks = [\"127.0.0.0/8\"]"), "{wrong}");
        let wrong = measured(&trigger, &hosts, &["127.0.0.0/8"], &[address]).await;
        assert!(wrong.contains("it is Windlass's own, and never a target"), "{wrong}");
    }
    assert_eq!(came.load(SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_judged_by_its_addresses_for_probes_too() {
    let (address, came) = silent().await;
    let place = format!("localhost:{}", address.port());
    for (origin, trigger) in kinds(address) {
        let (origin, trigger) = (origin.replace(&address.to_string(), &place), trigger.replace(&address.to_string(), &place));
        let wrong = measured(&trigger, &[origin], &["10.0.0.0/8"], &[]).await;
        assert!(wrong.contains("which is not public"), "{wrong}");
    }
    assert_eq!(came.load(SeqCst), 0);
}
