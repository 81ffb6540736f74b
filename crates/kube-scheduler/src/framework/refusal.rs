//! Why a node, or every node, was refused, and how upstream words it.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    ops::Deref,
    sync::Arc,
};

/// What may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// Fewer pods on the node might.
    Unschedulable,
    /// Nothing that the scheduler can do.
    Unresolvable,
    /// The judgement failed: so does the attempt, which is repeated.
    Error,
}

/// A plugin's refusal. Cheap to copy: there is one for each node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What may help.
    pub code: Code,
    /// What the user is told.
    pub reasons: Reasons,
}

/// What the user is told of a node.
#[derive(Clone, Debug)]
pub enum Reasons {
    /// In fixed words.
    Fixed(&'static [Cow<'static, str>]),
    /// In words made for the occasion.
    Made(Arc<[Cow<'static, str>]>),
}

impl Deref for Reasons {
    type Target = [Cow<'static, str>];

    fn deref(&self) -> &Self::Target {
        match self {
            Reasons::Fixed(reasons) => reasons,
            Reasons::Made(reasons) => reasons,
        }
    }
}

impl PartialEq for Reasons {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Reasons {}

impl From<Vec<Cow<'static, str>>> for Reasons {
    fn from(reasons: Vec<Cow<'static, str>>) -> Self {
        Reasons::Made(reasons.into())
    }
}

impl FromIterator<Cow<'static, str>> for Reasons {
    fn from_iter<I: IntoIterator<Item = Cow<'static, str>>>(reasons: I) -> Self {
        Reasons::Made(reasons.into_iter().collect())
    }
}

impl Refusal {
    /// A refusal in fixed words.
    #[must_use]
    pub const fn fixed(code: Code, reasons: &'static [Cow<'static, str>]) -> Self {
        Refusal { code, reasons: Reasons::Fixed(reasons) }
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
        // Neighbours are often refused for the same reasons.
        for run in self.refusals.chunk_by(|(_, a), (_, b)| std::ptr::eq(&*a.reasons, &*b.reasons)) {
            for reason in run[0].1.reasons.iter() {
                *counts.entry(reason).or_default() += run.len();
            }
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
