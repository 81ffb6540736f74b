//! Resources as numbers: three fixed fields for what every pod and node has, a short sorted list for the rest.

use std::sync::Arc;

use component_helpers::resources::Amounts;

/// An amount of each resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Thousandths of a core.
    pub milli_cpu: i64,
    /// Bytes.
    pub memory: i64,
    /// Bytes.
    pub ephemeral_storage: i64,
    /// Extended resources and huge pages, sorted by name.
    pub scalars: Vec<(Arc<str>, i64)>,
}

impl Resources {
    /// The amount of the named resource.
    #[must_use]
    pub fn of(&self, name: &str) -> i64 {
        match name {
            "cpu" => self.milli_cpu,
            "memory" => self.memory,
            "ephemeral-storage" => self.ephemeral_storage,
            _ => self.scalar(name),
        }
    }

    /// The amount of the named extended resource.
    #[must_use]
    pub fn scalar(&self, name: &str) -> i64 {
        self.scalars.iter().find(|(n, _)| **n == *name).map_or(0, |(_, amount)| *amount)
    }

    /// Adds `other`, or takes it away where `sign` is -1.
    pub fn add(&mut self, other: &Resources, sign: i64) {
        self.milli_cpu += sign * other.milli_cpu;
        self.memory += sign * other.memory;
        self.ephemeral_storage += sign * other.ephemeral_storage;
        for (name, amount) in &other.scalars {
            match self.scalars.binary_search_by(|(n, _)| n.cmp(name)) {
                Ok(at) => self.scalars[at].1 += sign * amount,
                Err(at) => self.scalars.insert(at, (name.clone(), sign * amount)),
            }
        }
    }

    /// Whether nothing but perhaps a pod slot is asked for.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.milli_cpu == 0 && self.memory == 0 && self.ephemeral_storage == 0 && self.scalars.is_empty()
    }
}

impl From<&Amounts> for Resources {
    /// Names that the scheduler does not count (`pods`, which is a limit of its own) are left out.
    fn from(amounts: &Amounts) -> Self {
        let mut resources = Resources::default();
        for (name, amount) in amounts {
            match name.as_str() {
                "cpu" => resources.milli_cpu = *amount,
                "memory" => resources.memory = *amount,
                "ephemeral-storage" => resources.ephemeral_storage = *amount,
                _ if is_scalar(name) => resources.scalars.push((Arc::from(name.as_str()), *amount)),
                _ => {}
            }
        }
        resources
    }
}

/// Whether the name is an extended resource, huge pages, or another one that is counted by name.
#[must_use]
pub fn is_scalar(name: &str) -> bool {
    is_extended(name)
        || name.starts_with("hugepages-")
        || name.starts_with("attachable-volumes-")
        || name.contains("kubernetes.io/")
}

/// Whether the name is an extended resource: in a domain of its own, not of Kubernetes.
#[must_use]
pub fn is_extended(name: &str) -> bool {
    name.contains('/') && !name.contains("kubernetes.io/") && !name.starts_with("requests.")
}
