//! A fair queue: parties take turns, and so do the members within a party, and so on. When the queue is too long, the party with
//! the most entries loses its latest one.

use std::collections::VecDeque;

/// A queue of items, each at the place of its party.
pub(super) trait FairQueue: Default {
    /// The party of an item, from the widest group to the narrowest.
    type Place;
    /// An item that waits.
    type Item;

    /// Returns the number of waiting items.
    fn len(&self) -> usize;

    /// Appends an item to the queue of its party.
    fn join(&mut self, place: Self::Place, item: Self::Item);

    /// Removes and returns the item whose turn it is.
    fn next(&mut self) -> Option<Self::Item>;

    /// Removes and returns the latest item of the longest queue.
    fn evict_last(&mut self) -> Option<Self::Item>;
}

/// A first-in, first-out queue.
pub(super) struct Fifo<T>(VecDeque<T>);

/// Parties that take turns. There are never more parties than items, so a linear search is enough.
pub(super) struct RoundRobin<P, L>(VecDeque<(P, L)>);

impl<T> Default for Fifo<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<P, L> Default for RoundRobin<P, L> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T> FairQueue for Fifo<T> {
    type Place = ();
    type Item = T;

    fn len(&self) -> usize {
        self.0.len()
    }

    fn join(&mut self, (): (), item: T) {
        self.0.push_back(item);
    }

    fn next(&mut self) -> Option<T> {
        self.0.pop_front()
    }

    fn evict_last(&mut self) -> Option<T> {
        self.0.pop_back()
    }
}

impl<P: PartialEq, L: FairQueue> FairQueue for RoundRobin<P, L> {
    type Place = (P, L::Place);
    type Item = L::Item;

    fn len(&self) -> usize {
        self.0.iter().map(|(_, line)| line.len()).sum()
    }

    fn join(&mut self, (party, place): Self::Place, item: L::Item) {
        if let Some((_, line)) = self.0.iter_mut().find(|(there, _)| *there == party) {
            return line.join(place, item);
        }
        let mut line = L::default();
        line.join(place, item);
        self.0.push_back((party, line));
    }

    fn next(&mut self) -> Option<L::Item> {
        let (party, mut line) = self.0.pop_front()?;
        let item = line.next();
        if line.len() > 0 {
            self.0.push_back((party, line));
        }
        item
    }

    fn evict_last(&mut self) -> Option<L::Item> {
        let lengths = self.0.iter().map(|(_, line)| line.len()).enumerate();
        // The last of several longest ones: it has waited least.
        let (longest, _) = lengths.max_by_key(|(_, length)| *length)?;
        let (_, line) = self.0.get_mut(longest)?;
        let item = line.evict_last();
        if line.len() == 0 {
            self.0.remove(longest);
        }
        item
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type TestLine = RoundRobin<&'static str, RoundRobin<u8, Fifo<u32>>>;

    fn all(mut line: TestLine) -> Vec<u32> {
        let mut order = Vec::new();
        while let Some(item) = line.next() {
            order.push(item);
        }
        order
    }

    fn of(items: &[(&'static str, u8, u32)]) -> TestLine {
        let mut line = TestLine::default();
        for (party, member, item) in items {
            line.join((*party, (*member, ())), *item);
        }
        line
    }

    #[test]
    fn parties_take_turns_and_their_members_too() {
        let line = of(&[
            ("a", 1, 1),
            ("a", 1, 2),
            ("a", 1, 3),
            ("a", 2, 4),
            ("b", 1, 5),
            ("a", 2, 6),
            ("b", 1, 7),
        ]);
        assert_eq!(line.len(), 7);
        assert_eq!(all(line), [1, 5, 4, 7, 2, 6, 3]);
    }

    #[test]
    fn who_comes_new_waits_for_one_turn_of_each_other_party() {
        let mut line = of(&[("a", 1, 1), ("a", 2, 2), ("a", 3, 3)]);
        assert_eq!(line.next(), Some(1));
        line.join(("b", (1, ())), 4);
        assert_eq!(line.next(), Some(2));
        assert_eq!(line.next(), Some(4));
        assert_eq!(line.next(), Some(3));
        assert_eq!(line.next(), None);
    }

    #[test]
    fn the_longest_line_loses_its_last() {
        let mut line = of(&[
            ("a", 1, 1),
            ("b", 1, 2),
            ("b", 2, 3),
            ("b", 2, 4),
            ("c", 1, 5),
            ("c", 1, 6),
        ]);
        assert_eq!(line.evict_last(), Some(4));
        assert_eq!(line.evict_last(), Some(6));
        assert_eq!(line.evict_last(), Some(3));
        assert_eq!(all(line), [1, 2, 5]);
        assert_eq!(TestLine::default().evict_last(), None);
    }
}
