//! A profile: the plugins that are asked at each point, made from a scheduler name's configuration.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{Descriptor, Plugin, Point};
use crate::{
    config::{PluginSet, Plugins, ProfileConfig},
    extender::Extenders,
    plugins,
};

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// No plugin has that name.
    #[error("{at}: no plugin is named {name:?}")]
    UnknownPlugin {
        /// The field.
        at: String,
        /// The name.
        name: String,
    },
    /// The plugin is not asked there.
    #[error("{at}: plugin {name:?} does not take part there")]
    NotAtPoint {
        /// The field.
        at: String,
        /// The name.
        name: String,
    },
    /// A plugin's arguments are wrong.
    #[error("pluginConfig {plugin:?}: {message}")]
    Args {
        /// The plugin.
        plugin: &'static str,
        /// What is wrong.
        message: String,
    },
    /// Fields are wrong; all of them, in upstream's words.
    #[error("{0}")]
    Invalid(String),
    /// A value is out of its range.
    #[error("{at}: {message}")]
    Value {
        /// The field.
        at: String,
        /// What is wrong.
        message: String,
    },
}

/// The plugins that profiles can name: Kubernetes' own, and those that a scheduler built on this library adds.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    more: Vec<&'static Descriptor>,
}

impl Registry {
    /// Adds a plugin. It is asked where a profile enables it.
    #[must_use]
    pub fn with(mut self, plugin: &'static Descriptor) -> Self {
        self.more.push(plugin);
        self
    }

    fn find(&self, name: &str) -> Option<&'static Descriptor> {
        plugins::find(name).or_else(|| self.more.iter().copied().find(|d| d.name == name))
    }
}

/// A plugin in a profile.
#[derive(Clone)]
pub struct Enabled {
    /// Its name.
    pub name: &'static str,
    /// The plugin.
    pub plugin: Arc<dyn Plugin>,
    /// What its scores weigh.
    pub weight: i64,
}

/// How one scheduler name's pods are placed.
pub struct Profile {
    /// Tells profiles of this process apart.
    pub number: u64,
    /// The name that pods ask for in `spec.schedulerName`.
    pub scheduler_name: String,
    /// How many of the feasible nodes are scored, in percent; 0: fewer the more nodes there are.
    pub percentage_of_nodes_to_score: i64,
    /// Programs that are asked after the plugins.
    pub extenders: Arc<Extenders>,
    points: BTreeMap<Point, Vec<Enabled>>,
    plugins: BTreeMap<&'static str, Arc<dyn Plugin>>,
}

impl Profile {
    /// Makes the profile of Kubernetes' own plugins.
    ///
    /// # Errors
    /// Where the configuration names an unknown plugin or gives one wrong arguments.
    pub fn new(config: &ProfileConfig, percentage_of_nodes_to_score: i64) -> Result<Self, ConfigError> {
        Profile::of(config, percentage_of_nodes_to_score, &Registry::default())
    }

    /// Makes the profile of any registered plugins.
    ///
    /// # Errors
    /// Where the configuration names an unknown plugin, gives one wrong arguments, or leaves a point empty that needs a plugin.
    pub fn of(
        config: &ProfileConfig,
        percentage_of_nodes_to_score: i64,
        registry: &Registry,
    ) -> Result<Self, ConfigError> {
        let mut made: BTreeMap<&'static str, Arc<dyn Plugin>> = BTreeMap::new();
        let mut points = BTreeMap::new();
        check_names(&config.plugins, registry)?;
        for (point, field, set) in config.plugins.by_point() {
            let mut enabled = Vec::new();
            for (descriptor, weight) in resolve(registry, &config.plugins.multi_point, set, point, field)? {
                let plugin = match made.get(descriptor.name) {
                    Some(plugin) => plugin.clone(),
                    None => {
                        let args = config.args(descriptor.name);
                        let plugin = (descriptor.build)(&args)?;
                        made.insert(descriptor.name, plugin.clone());
                        plugin
                    }
                };
                enabled.push(Enabled { name: descriptor.name, plugin, weight });
            }
            points.insert(point, enabled);
        }
        check_counts(config, &points)?;
        let percentage = config.percentage_of_nodes_to_score.unwrap_or(percentage_of_nodes_to_score);
        static MADE: AtomicU64 = AtomicU64::new(0);
        Ok(Profile {
            number: MADE.fetch_add(1, Ordering::Relaxed),
            scheduler_name: config.scheduler_name.clone(),
            percentage_of_nodes_to_score: percentage,
            extenders: Arc::default(),
            points,
            plugins: made,
        })
    }

    /// Whether every profile of the configuration can be made.
    ///
    /// # Errors
    /// Where one cannot.
    pub fn check(config: &crate::config::Config) -> Result<(), ConfigError> {
        config.profiles.iter().try_for_each(|profile| {
            Profile::of(profile, config.percentage_of_nodes_to_score, &config.registry).map(drop)
        })
    }

    /// The plugins that are asked at a point, in order.
    #[must_use]
    pub fn at(&self, point: Point) -> &[Enabled] {
        self.points.get(&point).map(Vec::as_slice).unwrap_or_default()
    }

    /// The plugin of that name, wherever it is asked.
    #[must_use]
    pub fn plugin(&self, name: &str) -> Option<&Arc<dyn Plugin>> {
        self.plugins.get(name)
    }
}

/// Pods must be sorted, by one plugin, and bound.
fn check_counts(config: &ProfileConfig, points: &BTreeMap<Point, Vec<Enabled>>) -> Result<(), ConfigError> {
    let count = |point| points.get(&point).map_or(0, Vec::len);
    let name = &config.scheduler_name;
    let message = match (count(Point::QueueSort), count(Point::Bind)) {
        (0, _) => format!("at least one queue sort plugin is needed for profile with scheduler name {name:?}"),
        (2.., _) => format!("only one queue sort plugin required for profile with scheduler name {name:?}"),
        (_, 0) => format!("at least one bind plugin is needed for profile with scheduler name {name:?}"),
        _ => return Ok(()),
    };
    Err(ConfigError::Value { at: "profiles".to_owned(), message })
}

fn check_names(config: &Plugins, registry: &Registry) -> Result<(), ConfigError> {
    let known = |name: &str| name == "*" || registry.find(name).is_some();
    let sets =
        config.by_point().into_iter().map(|(_, field, set)| (field, set)).chain([("multiPoint", &config.multi_point)]);
    for (field, set) in sets {
        let names = set.enabled.iter().chain(&set.disabled).map(|p| &p.name);
        if let Some(name) = names.into_iter().find(|name| !known(name)) {
            return Err(ConfigError::UnknownPlugin { at: format!("plugins.{field}"), name: name.clone() });
        }
    }
    Ok(())
}

/// The plugins of a point: those that the point names itself with their weights, then the defaults and `multiPoint` ones that are not disabled.
/// An explicitly enabled default keeps the default's place.
fn resolve(
    registry: &Registry,
    multi: &PluginSet,
    own: &PluginSet,
    point: Point,
    field: &str,
) -> Result<Vec<(&'static Descriptor, i64)>, ConfigError> {
    let mut resolved: Vec<(&'static Descriptor, i64)> = Vec::new();
    let mut own_left: Vec<_> = own.enabled.iter().collect();
    let defaults: Vec<(&'static Descriptor, i64)> = if multi.disables("*") {
        Vec::new()
    } else {
        plugins::all().iter().filter(|d| !multi.disables(d.name)).map(|d| (d, d.weight)).collect()
    };
    let extra = multi
        .enabled
        .iter()
        .filter_map(|p| registry.find(&p.name).map(|d| (d, p.weight.filter(|w| *w > 0).unwrap_or(d.weight))));
    let mut general = defaults;
    for (descriptor, weight) in extra {
        match general.iter_mut().find(|(d, _)| d.name == descriptor.name) {
            Some(known) => known.1 = weight,
            None => general.push((descriptor, weight)),
        }
    }
    for (descriptor, weight) in general.into_iter().filter(|(d, _)| d.points.contains(&point)) {
        if let Some(at) = own_left.iter().position(|p| p.name == descriptor.name) {
            let weight = own_left.remove(at).weight.filter(|w| *w > 0).unwrap_or(weight);
            resolved.push((descriptor, weight));
        } else if !own.disables(descriptor.name) && !own.disables("*") {
            resolved.push((descriptor, weight));
        }
    }
    for plugin in own_left {
        let Some(descriptor) = registry.find(&plugin.name).filter(|d| d.points.contains(&point)) else {
            return Err(ConfigError::NotAtPoint { at: format!("plugins.{field}"), name: plugin.name.clone() });
        };
        resolved.push((descriptor, plugin.weight.filter(|w| *w > 0).unwrap_or(descriptor.weight)));
    }
    Ok(resolved)
}
