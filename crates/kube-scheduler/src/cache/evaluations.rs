//! What was found out about nodes for pods of one kind, kept until the node changes.
//!
//! Most pods have many siblings. What a plugin says of a node often depends on nothing but the node and a few fields of the pod
//! (its [`Signature`]); then a sibling's answer is as good as a new one, and an evaluation costs as much as the nodes that changed.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use crate::framework::{Refusal, Signature};

/// How many kinds are kept; each takes eight bytes per node.
const CAPACITY: usize = 64;
/// How many signatures are remembered that came once: only what comes again is worth a table.
const SEEN: usize = 256;

/// A refusal with the name of the plugin.
pub(crate) type Refused = (&'static str, Refusal);

/// What is kept.
#[derive(Debug, Default)]
pub(crate) struct Evaluations {
    verdicts: Kinds<Verdicts>,
    scores: Kinds<Vec<(u32, i32)>>,
}

/// What the filters of one kind of pods say.
#[derive(Debug, Default)]
pub(crate) struct Verdicts {
    /// By slot: the node's generation then, and the refusal's index plus one, or zero.
    by_slot: Vec<(u32, u32)>,
    /// The different refusals.
    refusals: Vec<Refused>,
}

#[derive(Debug)]
struct Kinds<T> {
    known: Vec<(Signature, u64, T)>,
    seen: Vec<u64>,
    uses: u64,
}

impl<T> Default for Kinds<T> {
    fn default() -> Self {
        Kinds { known: Vec::new(), seen: Vec::new(), uses: 0 }
    }
}

impl<T: Default> Kinds<T> {
    /// What is kept for the kind; nothing when it comes for the first time.
    fn of(&mut self, signature: &Signature) -> Option<&mut T> {
        self.uses += 1;
        if let Some(at) = self.known.iter().position(|(known, _, _)| known == signature) {
            self.known[at].1 = self.uses;
            return Some(&mut self.known[at].2);
        }
        let mut hasher = DefaultHasher::new();
        signature.as_str().hash(&mut hasher);
        let hash = hasher.finish();
        if !self.seen.contains(&hash) {
            if self.seen.len() >= SEEN {
                self.seen.remove(0);
            }
            self.seen.push(hash);
            return None;
        }
        if self.known.len() >= CAPACITY
            && let Some(oldest) = (0..self.known.len()).min_by_key(|at| self.known[*at].1)
        {
            self.known.swap_remove(oldest);
        }
        self.known.push((signature.clone(), self.uses, T::default()));
        self.known.last_mut().map(|(_, _, kept)| kept)
    }
}

impl Evaluations {
    /// The verdicts that are kept for the kind.
    pub(crate) fn verdicts(&mut self, signature: &Signature) -> Option<&mut Verdicts> {
        self.verdicts.of(signature)
    }

    /// The raw scores that are kept for the kind, by slot, with the generation of the node.
    pub(crate) fn scores(&mut self, signature: &Signature) -> Option<&mut Vec<(u32, i32)>> {
        self.scores.of(signature)
    }
}

impl Verdicts {
    /// The verdict on the node in the slot, as it was in that generation, or as `judge` says now.
    pub(crate) fn get(
        &mut self,
        slot: usize,
        generation: u32,
        judge: impl FnOnce() -> Result<(), Refused>,
    ) -> Result<(), Refused> {
        if self.by_slot.len() <= slot {
            self.by_slot.resize(slot + 1, (0, 0));
        }
        let (known, verdict) = self.by_slot[slot];
        if known == generation {
            return match verdict.checked_sub(1) {
                None => Ok(()),
                Some(at) => Err(self.refusals[at as usize].clone()),
            };
        }
        let found = judge();
        let verdict = match &found {
            Ok(()) => 0,
            Err(refused) => self.number(refused),
        };
        self.by_slot[slot] = (generation, verdict);
        found
    }

    fn number(&mut self, refused: &Refused) -> u32 {
        let at = self.refusals.iter().position(|known| known == refused).unwrap_or_else(|| {
            self.refusals.push(refused.clone());
            self.refusals.len() - 1
        });
        at as u32 + 1
    }
}

/// The raw score of the node in the slot, as kept for that generation, or as `judge` says now. What does not fit the table is not kept.
pub(crate) fn score(kept: &mut Vec<(u32, i32)>, slot: usize, generation: u32, judge: impl FnOnce() -> i64) -> i64 {
    if kept.len() <= slot {
        kept.resize(slot + 1, (0, 0));
    }
    if kept[slot].0 == generation {
        return i64::from(kept[slot].1);
    }
    let score = judge();
    if let Ok(small) = i32::try_from(score) {
        kept[slot] = (generation, small);
    }
    score
}
