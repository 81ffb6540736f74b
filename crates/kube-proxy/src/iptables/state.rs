//! What was applied, and the smallest `iptables-restore` input that leads from there to what should be.
//!
//! Only a hash of each chain's rules is kept, and per service the rules that it has in shared chains: a change of one service
//! renders that service, and rewrites a shared chain only where the service's part of it changed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    hash::{DefaultHasher, Hash, Hasher},
};

use super::{
    render::{Fragment, Settings},
    top,
};
use crate::model::ServiceName;

/// A table that the proxy writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// Refusals and acceptance.
    Filter,
    /// Address translation.
    Nat,
}

impl Table {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Table::Filter => "filter",
            Table::Nat => "nat",
        }
    }
}

/// The chains that services share: table, name, and a service's rules in it.
type SharedChain = (Table, &'static str, fn(&Fragment) -> &Vec<String>);

const SHARED: [SharedChain; 6] = [
    (Table::Filter, "KUBE-NODEPORTS", |f| &f.health),
    (Table::Filter, "KUBE-SERVICES", |f| &f.rejected),
    (Table::Filter, "KUBE-EXTERNAL-SERVICES", |f| &f.rejected_external),
    (Table::Filter, "KUBE-PROXY-FIREWALL", |f| &f.firewall),
    (Table::Nat, "KUBE-SERVICES", |f| &f.services),
    (Table::Nat, "KUBE-NODEPORTS", |f| &f.node_ports),
];

/// What one service has applied.
#[derive(Debug, Default)]
struct Applied {
    /// Its chains with the hash of their rules.
    chains: BTreeMap<String, u64>,
    /// Its part of the shared chains; its own chains are not kept.
    shared: Fragment,
}

/// Everything that was applied.
#[derive(Debug, Default)]
pub struct State {
    services: BTreeMap<ServiceName, Applied>,
}

/// The input for `iptables-restore`, and the state that holds once it was taken.
#[derive(Debug)]
pub struct Change {
    /// The input; empty where nothing changes.
    pub input: String,
    /// How many chains it rewrites and removes.
    pub chains: usize,
    updates: Vec<(ServiceName, Option<Applied>)>,
}

fn hash(lines: &[String]) -> u64 {
    let mut hasher = DefaultHasher::new();
    lines.hash(&mut hasher);
    hasher.finish()
}

#[derive(Default)]
struct Text {
    declared: String,
    rules: String,
    removed: String,
    chains: usize,
}

impl Text {
    fn chain(&mut self, name: &str, lines: &[String]) {
        self.chains += 1;
        // Writing to a string cannot fail.
        let _ = writeln!(self.declared, ":{name} - [0:0]");
        for line in lines {
            let _ = writeln!(self.rules, "-A {name} {line}");
        }
    }

    fn remove(&mut self, name: &str) {
        self.chains += 1;
        let _ = writeln!(self.declared, ":{name} - [0:0]");
        let _ = writeln!(self.removed, "-X {name}");
    }

    fn finish(self, table: Table) -> String {
        if self.declared.is_empty() {
            return String::new();
        }
        format!("*{}\n{}{}{}COMMIT\n", table.name(), self.declared, self.rules, self.removed)
    }
}

impl State {
    /// The change that applies these services' new fragments. With `complete` everything is written, whatever was applied
    /// before; `stale` are chains of the nat table that are there and may not be needed any more.
    #[must_use]
    pub fn change(
        &self,
        fragments: Vec<(ServiceName, Fragment)>,
        settings: &Settings,
        complete: bool,
        stale: &BTreeSet<String>,
    ) -> Change {
        let (mut nat, mut filter) = (Text::default(), Text::default());
        if complete {
            for (table, chain, lines) in top::base(settings) {
                if table == "nat" { nat.chain(chain, &lines) } else { filter.chain(chain, &lines) }
            }
        }
        let mut wanted: BTreeSet<String> = BTreeSet::new();
        let mut touched = [complete; SHARED.len()];
        let mut updates = Vec::new();
        for (name, mut fragment) in fragments {
            let chains = std::mem::take(&mut fragment.chains);
            let known = self.services.get(&name);
            for (index, (_, _, part)) in SHARED.iter().enumerate() {
                touched[index] |= known.map_or(!part(&fragment).is_empty(), |k| part(&k.shared) != part(&fragment));
            }
            let hashes: BTreeMap<String, u64> =
                chains.iter().map(|(chain, lines)| (chain.clone(), hash(lines))).collect();
            for (chain, lines) in &chains {
                if complete || known.and_then(|k| k.chains.get(chain)) != hashes.get(chain) {
                    nat.chain(chain, lines);
                }
            }
            // Where everything is written anew, `stale` says what is there.
            let gone = known
                .into_iter()
                .flat_map(|k| k.chains.keys())
                .filter(|chain| !complete && !hashes.contains_key(*chain));
            gone.for_each(|chain| nat.remove(chain));
            if complete {
                wanted.extend(hashes.keys().cloned());
            }
            let is_empty = hashes.is_empty() && fragment == Fragment::default();
            updates.push((name, (!is_empty).then_some(Applied { chains: hashes, shared: fragment })));
        }
        for chain in stale.iter().filter(|chain| complete && !wanted.contains(*chain)) {
            nat.remove(chain);
        }
        self.shared_chains(&updates, settings, touched, &mut filter, &mut nat);
        let chains = nat.chains + filter.chains;
        Change { input: filter.finish(Table::Filter) + &nat.finish(Table::Nat), chains, updates }
    }

    fn shared_chains(
        &self,
        updates: &[(ServiceName, Option<Applied>)],
        settings: &Settings,
        touched: [bool; SHARED.len()],
        filter: &mut Text,
        nat: &mut Text,
    ) {
        let changed: BTreeMap<&ServiceName, Option<&Applied>> =
            updates.iter().map(|(name, a)| (name, a.as_ref())).collect();
        let kept = self.services.iter().filter(|(name, _)| !changed.contains_key(name));
        let mut all: BTreeMap<&ServiceName, &Fragment> = kept.map(|(name, a)| (name, &a.shared)).collect();
        all.extend(changed.iter().filter_map(|(name, a)| a.map(|a| (*name, &a.shared))));
        for (_, (table, chain, part)) in SHARED.iter().enumerate().filter(|(index, _)| touched[*index]) {
            let mut lines: Vec<String> = all.values().flat_map(|fragment| part(fragment).iter().cloned()).collect();
            if (*table, *chain) == (Table::Nat, "KUBE-SERVICES") {
                lines.extend(node_port_rules(settings));
            }
            let text = if *table == Table::Nat { &mut *nat } else { &mut *filter };
            text.chain(chain, &lines);
        }
    }

    /// Takes over a change that was applied.
    pub fn applied(&mut self, change: Change) {
        for (name, applied) in change.updates {
            match applied {
                Some(applied) => self.services.insert(name, applied),
                None => self.services.remove(&name),
            };
        }
    }

    /// The services that have something applied.
    pub fn services(&self) -> impl Iterator<Item = &ServiceName> {
        self.services.keys()
    }
}

/// What leads to the node ports, at the end of `KUBE-SERVICES`.
fn node_port_rules(settings: &Settings) -> Vec<String> {
    const NOTE: &str =
        r#"-m comment --comment "kubernetes service nodeports; NOTE: this must be the last rule in this chain""#;
    if settings.node_port_addresses.is_empty() {
        return vec![format!("{NOTE} -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS")];
    }
    settings.node_port_addresses.iter().map(|ip| format!("{NOTE} -d {ip} -j KUBE-NODEPORTS")).collect()
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
