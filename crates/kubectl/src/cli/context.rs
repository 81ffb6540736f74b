//! What a running command has at hand: its flags, the connection, discovery; each made when first needed.

use std::cell::{OnceCell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;

use super::flags::Parsed;
use crate::client::Client;
use crate::discovery::{Discovery, Resource};
use crate::error::{Error, Result};
use crate::kubeconfig::{Kubeconfig, Settings, resolve};

/// The surroundings of one command.
pub struct Context {
    /// The words that named the command.
    pub command: &'static str,
    /// Its flags and arguments.
    pub flags: Parsed,
    settings: OnceCell<Settings>,
    client: OnceCell<Client>,
    discovery: RefCell<Option<Rc<Discovery>>>,
}

impl Context {
    /// Surroundings for a command.
    pub fn new(command: &'static str, flags: Parsed) -> Self {
        Self { command, flags, settings: OnceCell::new(), client: OnceCell::new(), discovery: RefCell::new(None) }
    }

    /// The arguments.
    pub fn args(&self) -> &[String] {
        &self.flags.args
    }

    /// The arguments before `--`, and those after it.
    pub fn split_args(&self) -> (&[String], &[String]) {
        self.flags.args.split_at(self.flags.dash.unwrap_or(self.flags.args.len()))
    }

    /// The connection settings.
    pub fn settings(&self) -> Result<&Settings> {
        if let Some(settings) = self.settings.get() {
            return Ok(settings);
        }
        let settings = resolve(&Kubeconfig::load(&self.flags)?, &self.flags)?;
        Ok(self.settings.get_or_init(|| settings))
    }

    /// The client of the API server.
    pub fn client(&self) -> Result<&Client> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let text = self.flags.text("request-timeout");
        let timeout = match text.parse::<u64>() {
            Ok(seconds) => std::time::Duration::from_secs(seconds),
            Err(_) => super::flags::parse_duration(text).ok_or_else(|| {
                Error::Plain("Invalid timeout value. Timeout must be a single integer in seconds, or an integer followed by a corresponding time unit (e.g. 1s | 2m | 3h)".into())
            })?,
        };
        let client = Client::new(self.settings()?, Some(timeout))?;
        Ok(self.client.get_or_init(|| client))
    }

    /// `--warnings-as-errors`: a command that the server warned about fails.
    pub fn check_warnings(&self) -> Result<()> {
        let warned = self.client.get().map_or(0, Client::warnings);
        if warned == 0 || !self.flags.bool("warnings-as-errors") {
            return Ok(());
        }
        Err(Error::Plain(format!("{warned} warning{} received", if warned == 1 { "" } else { "s" })))
    }

    /// The namespace that the flags or the context name, or `default`.
    pub fn namespace(&self) -> Result<String> {
        if let Some(namespace) = self.flags.opt("namespace") {
            return Ok(namespace.to_owned());
        }
        Ok(self.settings()?.namespace.clone().unwrap_or_else(|| "default".to_owned()))
    }

    /// Where discovery is cached.
    pub fn cache_dir(&self) -> PathBuf {
        let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
        if self.flags.changed("cache-dir") {
            return PathBuf::from(self.flags.text("cache-dir"));
        }
        std::env::var_os("KUBECACHEDIR").map_or_else(|| home.join(".kube/cache"), PathBuf::from)
    }

    /// What the server serves.
    pub async fn discovery(&self) -> Result<Rc<Discovery>> {
        if let Some(known) = self.discovery.borrow().clone() {
            return Ok(known);
        }
        self.load_discovery(false).await
    }

    async fn load_discovery(&self, refresh: bool) -> Result<Rc<Discovery>> {
        let loaded = Rc::new(Discovery::load(self.client()?, &self.cache_dir(), refresh).await?);
        *self.discovery.borrow_mut() = Some(Rc::clone(&loaded));
        Ok(loaded)
    }

    /// Asks the server again, even when the cache is fresh.
    pub async fn refreshed_discovery(&self) -> Result<Rc<Discovery>> {
        self.load_discovery(true).await
    }

    async fn lookup<T>(&self, find: impl Fn(&Discovery) -> Option<T>) -> Result<Option<T>> {
        let discovery = self.discovery().await?;
        if let Some(found) = find(&discovery) {
            return Ok(Some(found));
        }
        if !discovery.cached {
            return Ok(None);
        }
        Ok(find(&*self.refreshed_discovery().await?))
    }

    /// The resource that a word names, if there is one.
    pub async fn find_resource(&self, word: &str) -> Result<Option<Resource>> {
        self.lookup(|d| d.find(word).cloned()).await
    }

    /// The resource that a word names.
    pub async fn resource(&self, word: &str) -> Result<Resource> {
        self.find_resource(word)
            .await?
            .ok_or_else(|| Error::Plain(format!("the server doesn't have a resource type {word:?}")))
    }

    /// The resource of an object's kind, if the server has it.
    pub async fn resource_of(&self, api_version: &str, kind: &str) -> Result<Option<Resource>> {
        self.lookup(|d| d.of_kind(api_version, kind).cloned()).await
    }
}
