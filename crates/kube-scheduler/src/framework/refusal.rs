//! Why a node, or every node, was refused, and how upstream words it.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

/// What may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// Fewer pods on the node might.
    Unschedulable,
    /// Nothing that the scheduler can do.
    Unresolvable,
}

/// A plugin's refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What may help.
    pub code: Code,
    /// What the user is told.
    pub reasons: Cow<'static, [Cow<'static, str>]>,
}

impl Refusal {
    /// A refusal in fixed words.
    #[must_use]
    pub const fn fixed(code: Code, reasons: &'static [Cow<'static, str>]) -> Self {
        Refusal { code, reasons: Cow::Borrowed(reasons) }
    }

    /// A refusal that nothing turns until the cluster changes.
    #[must_use]
    pub fn unresolvable(reason: impl Into<Cow<'static, str>>) -> Self {
        Refusal { code: Code::Unresolvable, reasons: vec![reason.into()].into() }
    }

    /// The reasons as one text.
    #[must_use]
    pub fn message(&self) -> String {
        self.reasons.join(", ")
    }
}

/// Why a pod fits nowhere.
#[derive(Clone, Debug, Default)]
pub struct Diagnosis {
    /// How many nodes there are.
    pub nodes: usize,
    /// Refusals by the slots of nodes, each node at most once.
    pub refusals: Vec<(usize, Refusal)>,
    /// What holds for nodes that are not among `refusals`.
    pub others: Option<Refusal>,
    /// A refusal of all nodes before any was looked at.
    pub before: Option<Refusal>,
    /// The plugins that refused: only an event that concerns one of them can help.
    pub plugins: BTreeSet<&'static str>,
    /// What the plugins that were asked for help said.
    pub after: String,
}

impl Diagnosis {
    /// The sentence of the event and the condition.
    #[must_use]
    pub fn message(&self) -> String {
        let mut text = format!("0/{} nodes are available:", self.nodes);
        let why = match &self.before {
            Some(refusal) => refusal.message(),
            None => self.histogram().join(", "),
        };
        if !why.is_empty() {
            text.push_str(&format!(" {why}."));
        }
        if !self.after.is_empty() {
            text.push(' ');
            text.push_str(&self.after);
        }
        text
    }

    /// What is known of the node in the slot.
    #[must_use]
    pub fn of(&self, slot: usize) -> Option<&Refusal> {
        let own = self.refusals.iter().find(|(at, _)| *at == slot).map(|(_, refusal)| refusal);
        own.or(self.others.as_ref()).or(self.before.as_ref())
    }

    fn histogram(&self) -> Vec<String> {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for reason in self.refusals.iter().flat_map(|(_, refusal)| refusal.reasons.iter()) {
            *counts.entry(reason).or_default() += 1;
        }
        let rest = self.nodes.saturating_sub(self.refusals.len());
        if let Some(others) = self.others.as_ref().filter(|_| rest > 0) {
            for reason in others.reasons.iter() {
                *counts.entry(reason).or_default() += rest;
            }
        }
        let mut lines: Vec<String> = counts.into_iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        lines.sort();
        lines
    }
}
