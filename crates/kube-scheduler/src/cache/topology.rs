//! Places: the values of a node label as small numbers, so that counting per place is counting in a vector.

use std::collections::HashMap;

use super::NodeInfo;

/// The values of one node label over all nodes.
#[derive(Clone, Debug, Default)]
pub struct Column {
    /// By slot: the value's number plus one; zero where the node lacks the label.
    values: Vec<u32>,
    numbers: HashMap<String, u32>,
    /// How many nodes have each value.
    population: Vec<usize>,
    labelled: usize,
}

impl Column {
    /// The number of the node's place.
    #[must_use]
    pub fn of(&self, node: &NodeInfo) -> Option<usize> {
        self.at(node.slot)
    }

    /// The number of the place of the node in that slot.
    #[must_use]
    pub fn at(&self, slot: usize) -> Option<usize> {
        self.values.get(slot).and_then(|value| value.checked_sub(1)).map(|number| number as usize)
    }

    /// The values and the numbers of their places, in no order.
    pub fn values(&self) -> impl Iterator<Item = (&str, usize)> {
        self.numbers.iter().map(|(value, number)| (value.as_str(), *number as usize))
    }

    /// One more than the highest number of a place.
    #[must_use]
    pub fn places(&self) -> usize {
        self.population.len()
    }

    /// Whether some node lies in the place.
    #[must_use]
    pub fn is_populated(&self, place: usize) -> bool {
        self.population.get(place).is_some_and(|nodes| *nodes > 0)
    }

    /// How many nodes have the label.
    #[must_use]
    pub fn labelled(&self) -> usize {
        self.labelled
    }

    /// Takes in the label's value on the node in `slot`.
    pub(super) fn set(&mut self, slot: usize, value: Option<&str>) {
        if self.values.len() <= slot {
            self.values.resize(slot + 1, 0);
        }
        if let Some(before) = self.at(slot) {
            self.population[before] -= 1;
            self.labelled -= 1;
        }
        self.values[slot] = 0;
        let Some(value) = value else { return };
        let number = match self.numbers.get(value) {
            Some(number) => *number,
            None => {
                let number = self.population.len() as u32;
                self.numbers.insert(value.to_owned(), number);
                self.population.push(0);
                number
            }
        };
        self.values[slot] = number + 1;
        self.population[number as usize] += 1;
        self.labelled += 1;
    }
}
