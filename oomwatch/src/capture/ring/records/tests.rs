use proptest::{collection::vec, prelude::*};

use super::*;

const SIZE: u64 = 256;

/// Writes records as `kernel/bpf/ringbuf.c` does.
struct Writer {
    words: Vec<AtomicU64>,
    producer: u64,
}

impl Writer {
    /// An empty ring whose positions are both `position`.
    fn at(position: u64) -> Self {
        Self {
            words: (0..SIZE / WORD_BYTES).map(|_| AtomicU64::new(!0)).collect(),
            producer: position,
        }
    }

    fn put(&mut self, position: u64, bytes: &[u8]) {
        for (position, byte) in (position..).zip(bytes) {
            let [index, offset] = [position % SIZE / WORD_BYTES, position % WORD_BYTES]
                .map(|number| usize::try_from(number).expect("small"));
            let word = self.words[index].get_mut();
            let mut all = word.to_ne_bytes();
            all[offset] = *byte;
            *word = u64::from_ne_bytes(all);
        }
    }

    /// Appends a record and returns the position at which it begins.
    fn write(&mut self, bytes: &[u8], flags: u32) -> u64 {
        let begin = self.producer;
        let length = u32::try_from(bytes.len()).expect("small");
        self.put(begin, &(length | flags).to_ne_bytes());
        self.put(begin + 4, &[7; 4]);
        self.put(begin + WORD_BYTES, bytes);
        self.producer = (begin + WORD_BYTES + bytes.len() as u64).next_multiple_of(WORD_BYTES);
        begin
    }

    fn read(&self, position: u64) -> (Slot, Vec<u8>) {
        let mut bytes = vec![1; 3];
        let slot = Records::new(&self.words).read(position, self.producer, &mut bytes);
        (slot, bytes)
    }
}

#[test]
fn record_is_read_once_its_length_is_written() {
    let mut writer = Writer::at(0);
    assert_eq!(writer.read(0).0, Slot::Empty);
    let begin = writer.write(b"four words and three bytes", BUSY);
    assert_eq!(writer.read(begin).0, Slot::Busy);
    writer.put(begin, &26u32.to_ne_bytes());
    let (slot, bytes) = writer.read(begin);
    assert_eq!(slot, Slot::Record(40));
    assert_eq!(bytes, b"four words and three bytes");
    assert_eq!(writer.read(40).0, Slot::Empty);
}

#[test]
fn discarded_record_is_skipped() {
    let mut writer = Writer::at(0);
    let begin = writer.write(&[0; 9], DISCARDED);
    assert_eq!(writer.read(begin).0, Slot::Discarded(24));
    let begin = writer.write(&[0; 9], BUSY | DISCARDED);
    assert_eq!(writer.read(begin).0, Slot::Busy);
}

#[test]
fn record_without_bytes_is_a_record() {
    let mut writer = Writer::at(0);
    let begin = writer.write(&[], 0);
    assert_eq!(writer.read(begin), (Slot::Record(8), Vec::new()));
}

#[test]
fn record_that_the_kernel_cannot_have_written_is_corrupt() {
    for (length, position) in [
        // Past what was produced, larger than the ring, not where a record begins.
        (33, 0),
        (1000, 0),
        (8, 4),
    ] {
        let mut writer = Writer::at(0);
        writer.write(&[0; 32], 0);
        writer.put(position, &u32::to_ne_bytes(length));
        assert_eq!(
            writer.read(position).0,
            Slot::Corrupt,
            "{length} {position}"
        );
    }
}

proptest! {
    #[test]
    fn records_are_read_back_as_written(
        laps in 0u64..3,
        start in 0u64..SIZE / WORD_BYTES,
        records in vec((vec(any::<u8>(), 0..100), any::<bool>()), 0..20),
    ) {
        let start = (laps << 32) + start * WORD_BYTES;
        let mut writer = Writer::at(start);
        let mut position = start;
        for (bytes, is_kept) in records {
            writer.write(&bytes, if is_kept { 0 } else { DISCARDED });
            let (slot, read_bytes) = writer.read(position);
            if is_kept {
                prop_assert_eq!(slot, Slot::Record(writer.producer));
                prop_assert_eq!(read_bytes, bytes);
            } else {
                prop_assert_eq!(slot, Slot::Discarded(writer.producer));
            }
            position = writer.producer;
        }
        prop_assert_eq!(writer.read(position).0, Slot::Empty);
    }

    #[test]
    fn any_words_give_a_slot_inside_the_ring(
        words in vec(any::<u64>(), 32),
        position in any::<u32>(),
        produced in 0u64..1024,
    ) {
        let words: Vec<_> = words.into_iter().map(AtomicU64::new).collect();
        let position = u64::from(position);
        let mut bytes = Vec::new();
        let producer = position + produced;
        match Records::new(&words).read(position, producer, &mut bytes) {
            Slot::Record(end) | Slot::Discarded(end) => {
                prop_assert!(end > position && end <= producer);
                prop_assert!(end - position <= SIZE);
            }
            Slot::Empty => prop_assert_eq!(produced, 0),
            Slot::Busy | Slot::Corrupt => {}
        }
    }
}
