use proptest::{collection::vec, prelude::*};

use super::*;

const SIZE: u64 = 256;

/// The kernel's side of a ring, as `kernel/bpf/ringbuf.c` writes it.
struct Writer {
    words: Vec<AtomicU64>,
    producer: u64,
}

impl Writer {
    /// One whose positions have come this far.
    fn at(position: u64) -> Self {
        Self {
            words: (0..SIZE / WORD_BYTES).map(|_| AtomicU64::new(!0)).collect(),
            producer: position,
        }
    }

    fn put(&mut self, position: u64, bytes: &[u8]) {
        for (position, byte) in (position..).zip(bytes) {
            let [index, place] = [position % SIZE / WORD_BYTES, position % WORD_BYTES]
                .map(|number| usize::try_from(number).expect("small"));
            let word = self.words[index].get_mut();
            let mut all = word.to_ne_bytes();
            all[place] = *byte;
            *word = u64::from_ne_bytes(all);
        }
    }

    /// Appends a record; where it begins.
    fn write(&mut self, bytes: &[u8], flags: u32) -> u64 {
        let begin = self.producer;
        let length = u32::try_from(bytes.len()).expect("small");
        self.put(begin, &(length | flags).to_ne_bytes());
        self.put(begin + 4, &[7; 4]);
        self.put(begin + WORD_BYTES, bytes);
        self.producer = (begin + WORD_BYTES + bytes.len() as u64).next_multiple_of(WORD_BYTES);
        begin
    }

    fn look(&self, position: u64) -> (Found, Vec<u8>) {
        let mut bytes = vec![1; 3];
        let found = Records::new(&self.words).look(position, self.producer, &mut bytes);
        (found, bytes)
    }
}

#[test]
fn record_is_there_when_its_length_is() {
    let mut writer = Writer::at(0);
    assert_eq!(writer.look(0).0, Found::Nothing);
    let begin = writer.write(b"four words and three bytes", BUSY);
    assert_eq!(writer.look(begin).0, Found::Busy);
    writer.put(begin, &26u32.to_ne_bytes());
    let (found, bytes) = writer.look(begin);
    assert_eq!(found, Found::Record(40));
    assert_eq!(bytes, b"four words and three bytes");
    assert_eq!(writer.look(40).0, Found::Nothing);
}

#[test]
fn record_that_was_given_up_is_passed() {
    let mut writer = Writer::at(0);
    let begin = writer.write(&[0; 9], DISCARDED);
    assert_eq!(writer.look(begin).0, Found::Discarded(24));
    let begin = writer.write(&[0; 9], BUSY | DISCARDED);
    assert_eq!(writer.look(begin).0, Found::Busy);
}

#[test]
fn record_without_bytes_is_one() {
    let mut writer = Writer::at(0);
    let begin = writer.write(&[], 0);
    assert_eq!(writer.look(begin), (Found::Record(8), Vec::new()));
}

#[test]
fn what_the_kernel_cannot_have_written_is_told_apart() {
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
            writer.look(position).0,
            Found::Broken,
            "{length} {position}"
        );
    }
}

proptest! {
    #[test]
    fn records_come_back_as_they_were_written(
        laps in 0u64..3,
        start in 0u64..SIZE / WORD_BYTES,
        records in vec((vec(any::<u8>(), 0..100), any::<bool>()), 0..20),
    ) {
        let start = (laps << 32) + start * WORD_BYTES;
        let mut writer = Writer::at(start);
        let mut read = start;
        for (bytes, is_kept) in records {
            writer.write(&bytes, if is_kept { 0 } else { DISCARDED });
            let (found, came) = writer.look(read);
            if is_kept {
                prop_assert_eq!(found, Found::Record(writer.producer));
                prop_assert_eq!(came, bytes);
            } else {
                prop_assert_eq!(found, Found::Discarded(writer.producer));
            }
            read = writer.producer;
        }
        prop_assert_eq!(writer.look(read).0, Found::Nothing);
    }

    #[test]
    fn any_words_are_answered(
        words in vec(any::<u64>(), 32),
        position in any::<u32>(),
        produced in 0u64..1024,
    ) {
        let words: Vec<_> = words.into_iter().map(AtomicU64::new).collect();
        let position = u64::from(position);
        let mut bytes = Vec::new();
        let producer = position + produced;
        match Records::new(&words).look(position, producer, &mut bytes) {
            Found::Record(end) | Found::Discarded(end) => {
                prop_assert!(end > position && end <= producer);
                prop_assert!(end - position <= SIZE);
            }
            Found::Nothing => prop_assert_eq!(produced, 0),
            Found::Busy | Found::Broken => {}
        }
    }
}
