//! Plugins come in: checked, compiled and asked what they are before they are stored.

use std::collections::HashSet;

use tokio::sync::watch;

use super::{App, Who};
use crate::domain::member::Role;
use crate::domain::plugin::{Plugin, PluginRef, Want};
use crate::domain::signature;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::plugin::{Described, EMBEDDED, Embedded, Step, catalog};
use crate::store::plugin::SERVER;

/// Bytes of an embedded plugin that is added at every start.
const AT_START: usize = 1024 * 1024;

/// What a plugin is called by who pushes it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Called<'a> {
    /// Whatever its `describe` says.
    pub name: Option<&'a str>,
    /// When its `describe` says none.
    pub fallback: Option<&'a str>,
    /// When its `describe` says none, or the same; `0.0.0` without.
    pub version: Option<&'a str>,
    /// What minisign wrote about the bytes.
    pub signature: Option<&'a str>,
}

impl App {
    /// Adds a plugin for one tenant, or for everybody. Answers the plugin, and whether it is new: the same bytes again
    /// change nothing.
    ///
    /// # Errors
    /// `Invalid` for a file that is no plugin, with the reasons; `Conflict` for a version that stands with other bytes;
    /// `NotFound`, `Forbidden`.
    pub async fn push(&self, called: Called<'_>, bytes: Vec<u8>, tenant: Option<&str>, who: &Who) -> Result<(Plugin, bool)> {
        let owner = self.owner(tenant, who).await?;
        self.push_in_steps(called, bytes, owner, who, &watch::channel(Step::Waiting).0).await
    }

    /// Whose a plugin becomes that is pushed by `who`.
    pub(super) async fn owner(&self, tenant: Option<&str>, who: &Who) -> Result<Id> {
        let Some(name) = tenant else {
            who.may_all(Role::Admin, "pushing a plugin for everybody")?;
            return Ok(SERVER);
        };
        let tenant = self.store.read().await?.need_tenant(name).await?.id;
        who.may(Role::Admin, tenant, "pushing a plugin")?;
        Ok(tenant)
    }

    /// [`App::push`], which says how far it is. What is refused in the end leaves nothing behind.
    pub(super) async fn push_in_steps(
        &self,
        called: Called<'_>,
        bytes: Vec<u8>,
        owner: Id,
        who: &Who,
        step: &watch::Sender<Step>,
    ) -> Result<(Plugin, bool)> {
        self.check_signature(called.signature, &bytes)?;
        let described = self.catalog.add_in_steps(bytes.clone(), step).await?;
        let digest = described.digest.clone();
        let added = self.added(called, described, bytes, owner, who).await;
        if added.is_err() && self.store.read().await?.plugin_bytes(&digest).await?.is_none() {
            self.catalog.discard(&digest);
        }
        added
    }

    async fn added(
        &self,
        called: Called<'_>,
        described: Described,
        bytes: Vec<u8>,
        owner: Id,
        who: &Who,
    ) -> Result<(Plugin, bool)> {
        let says = |key: &str| described.description.get(key).and_then(|value| value.as_str()).filter(|text| !text.is_empty());
        let Some(name) = called.name.or_else(|| says("name")).or(called.fallback).map(ToOwned::to_owned) else {
            return Err(Error::invalid("name", "the plugin does not say its name; give one"));
        };
        // What a plugin says of itself stays true of its bytes; a version from outside is for those that say nothing.
        if let (Some(own), Some(given)) = (says("version"), called.version)
            && own != given
        {
            let why = format!("its describe says {own:?}, and {given:?} was given; leave that out, or build it as {given}");
            return Err(Error::invalid("version", why));
        }
        let version = says("version").or(called.version);
        let nameless = version.is_none();
        let version = version.unwrap_or(&described.version).to_owned();
        let signature = called.signature.map(ToOwned::to_owned);
        self.keep((name, version), owner, described, (bytes, signature), who).await.map_err(|wrong| match wrong {
            Error::Conflict(why) if nameless => {
                Error::Conflict(format!("{why}; give it a version: --version 0.1.1, or export describe"))
            }
            wrong => wrong,
        })
    }

    /// Adds the plugins that came with this binary, for everybody, under `version+digest`: another build of the same
    /// version stands beside the one before. Large ones wait until a job names them, for compiling them takes seconds.
    pub async fn push_embedded(&self) -> Result<()> {
        for plugin in EMBEDDED.iter().filter(|plugin| plugin.bytes.len() <= AT_START) {
            self.push_one_embedded(plugin).await?;
        }
        Ok(())
    }

    /// Adds those of the large ones that are named here.
    pub(super) async fn push_embedded_named(&self, names: impl Iterator<Item = &str>) -> Result<()> {
        let names: HashSet<&str> = names.collect();
        let named = |plugin: &&Embedded| plugin.bytes.len() > AT_START && names.contains(plugin.name);
        for plugin in EMBEDDED.iter().filter(named) {
            self.push_one_embedded(plugin).await?;
        }
        Ok(())
    }

    async fn push_one_embedded(&self, plugin: &Embedded) -> Result<()> {
        let digest = catalog::digest(plugin.bytes);
        // From compiled code, at every time but the first.
        self.catalog.load(&digest, plugin.bytes.to_vec()).await?;
        let described = self.catalog.add(plugin.bytes.to_vec()).await?;
        let mark = digest.trim_start_matches("sha256:").get(..8).unwrap_or_default();
        let version = format!("{}+{mark}", described.version);
        let name = (plugin.name.to_owned(), version);
        self.keep(name, SERVER, described, (plugin.bytes.to_vec(), None), &Who::server()).await?;
        Ok(())
    }

    /// Makes the plugins ready here that jobs and unfinished runs use. One that cannot be is left out with a word in the
    /// log: the others' jobs are not to wait for it.
    pub async fn load_plugins(&self) -> Result<()> {
        let digests = self.store.read().await?.used_digests().await?;
        self.load_each(digests).await;
        Ok(())
    }

    /// The same for the jobs alone, without a look at every waiting run.
    pub async fn load_current_plugins(&self) -> Result<()> {
        let digests = self.store.read().await?.current_digests().await?;
        self.load_each(digests).await;
        Ok(())
    }

    async fn load_each(&self, digests: Vec<String>) {
        for digest in digests {
            if let Err(wrong) = self.load_plugin(&digest).await {
                tracing::error!(plugin.digest = digest, error = %wrong, "a plugin cannot be made ready; its jobs wait");
            }
        }
    }

    /// Makes a stored plugin ready here.
    pub(super) async fn load_plugin(&self, digest: &str) -> Result<()> {
        if self.executor.has(digest) {
            return Ok(());
        }
        let bytes = self.store.read().await?.plugin_bytes(digest).await?;
        let bytes = bytes.ok_or_else(|| Error::not_found(format!("the plugin {digest}")))?;
        self.catalog.load(digest, bytes).await
    }

    /// A signature that is given must be good, also where none is asked for.
    fn check_signature(&self, signature: Option<&str>, bytes: &[u8]) -> Result<()> {
        let rules = &self.settings.plugins;
        match signature {
            Some(signature) => {
                signature::check(bytes, signature, &rules.trusted_keys).map_err(|wrong| Error::invalid("signature", wrong))
            }
            None if rules.require_signature => Err(Error::invalid(
                "signature",
                "this node takes only plugins that are signed; sign it (minisign -Sm FILE), and push with --signature FILE.minisig",
            )),
            None => Ok(()),
        }
    }

    async fn keep(
        &self,
        (name, version): (String, String),
        owner: Id,
        described: Described,
        (bytes, signature): (Vec<u8>, Option<String>),
        who: &Who,
    ) -> Result<(Plugin, bool)> {
        match format!("{name}@{version}").parse::<PluginRef>() {
            Ok(PluginRef { want: Want::Exactly(_), .. }) => {}
            Ok(_) => {
                return Err(Error::invalid(
                    "version",
                    format!("{version:?} is no version; let describe answer one such as \"1.4.2\""),
                ));
            }
            Err(wrong) => return Err(Error::invalid("name", wrong)),
        }
        let now = self.now();
        let plugin = Plugin {
            name,
            version,
            digest: described.digest,
            tenant: owner,
            bytes: described.bytes,
            exports: described.exports,
            imports: described.imports,
            description: described.description,
            pushed_at: now,
            pushed_by: who.name.clone(),
            signature,
        };
        let mut tx = self.store.begin().await?;
        let new = tx.put_plugin(&plugin, bytes).await?;
        if new {
            let object = format!("{} {}", plugin.name, plugin.version);
            tx.audit(owner, &who.name, "plugin.push", &object, Some(&plugin.digest), now).await?;
            tx.commit().await?;
        }
        Ok((plugin, new))
    }
}

#[cfg(test)]
mod tests {
    use super::super::apply::tests::Place;
    use super::*;

    fn noop() -> Vec<u8> {
        EMBEDDED.iter().find(|plugin| plugin.name == "noop").unwrap().bytes.to_vec()
    }

    fn named(name: &str) -> Called<'_> {
        Called { name: Some(name), ..Called::default() }
    }

    #[tokio::test]
    async fn what_is_no_plugin_is_refused_with_the_reason() {
        let place = Place::new().await;
        for (bytes, says) in [(b"MZ".to_vec(), "plugin: this is no WebAssembly file"), (Vec::new(), "plugin: the file is empty")]
        {
            let wrong = place.app.push(named("noop"), bytes, None, &Who::server()).await.unwrap_err().to_string();
            assert!(wrong.contains(says), "{wrong}");
        }
        let wrong = place.app.push(Called::default(), noop(), None, &Who::server()).await.unwrap_err().to_string();
        assert_eq!(wrong, "name: the plugin does not say its name; give one");
        let other = Called { version: Some("9.9.9"), ..named("nothing") };
        let wrong = place.app.push(other, noop(), None, &Who::server()).await.unwrap_err().to_string();
        assert!(wrong.starts_with("version: its describe says ") && wrong.contains("and \"9.9.9\" was given"), "{wrong}");
        let wrong = place.app.push(named("No op"), noop(), None, &Who::server()).await.unwrap_err().to_string();
        assert!(wrong.starts_with("name: \"No op\" is no plugin name"), "{wrong}");
    }

    #[tokio::test]
    async fn the_same_bytes_again_are_nothing_new_and_versions_do_not_change() {
        let place = Place::new().await;
        let (plugin, new) = place.app.push(named("nothing"), noop(), None, &Who::server()).await.unwrap();
        assert!(new && plugin.digest == catalog::digest(&noop()) && !plugin.measures());
        assert_eq!(plugin.version.split('.').count(), 3);
        assert!(!place.app.push(named("nothing"), noop(), None, &Who::server()).await.unwrap().1);
        // The place has a noop of this version, with other bytes.
        let wrong = place.app.push(named("noop"), noop(), None, &Who::server()).await.unwrap_err();
        assert!(matches!(&wrong, Error::Conflict(why) if why.contains("versions do not change")), "{wrong}");
    }

    #[tokio::test]
    async fn embedded_plugins_are_the_servers_under_their_digest() {
        let place = Place::new().await;
        place.app.push_embedded().await.unwrap();
        place.app.push_embedded().await.unwrap();
        let plugins = place.app.store.read().await.unwrap().plugins().await.unwrap();
        let small = EMBEDDED.iter().filter(|plugin| plugin.bytes.len() <= AT_START).count();
        assert_eq!(plugins.len(), small + 2);
        for plugin in plugins.iter().filter(|plugin| plugin.version.contains('+')) {
            assert!(plugin.version.ends_with(&plugin.digest[7..15]), "{}", plugin.version);
        }
        place.app.load_plugins().await.unwrap();
    }
}
