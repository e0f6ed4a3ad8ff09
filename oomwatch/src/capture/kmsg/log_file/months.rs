//! Days and names of months in the languages of `dmesg -T`, `journalctl` and syslog.

use bstr::ByteSlice as _;

use crate::capture::kmsg::number::parse_number;

/// The beginnings of the names, in lower case. Names that begin differently have the same beginning only within a month.
const MONTHS: [&str; 12] = [
    "jan jän ene gen oca ian sty led sij янв січ ιαν tammi",
    "feb fév fev şub sub lut úno uno лют фев φεβ helmi",
    "mar mär mrz mrt már maalis març бер мар μαρ bře bre",
    "apr avr abr ápr nis kwi dub кві апр απρ huhti",
    "may mai mag maj máj mei maig kvě kve тра май мая μαΐ μαϊ touko",
    "jun juin giu jún haz cze čvn čer cer juny чер июн ιουν kesä kesa",
    "jul juil lug júl tem lip čvc июл лип ιουλ heinä heina",
    "aug aoû aou ago ağu agu sie srp авг сер αυγ elo",
    "sep set szept eyl wrz zář zar сен вер σεπ syys",
    "oct okt out ott eki paź paz říj rij окт жов οκτ loka",
    "nov kas lis noi ноя лис νοε marras",
    "dec déc dez dic des ara gru pro дек гру δεκ joulu",
];

/// Parses the name of a month, or `8月` and `8월`.
pub(super) fn month(word: &[u8]) -> Option<i8> {
    let word = word.to_str().ok()?;
    if let Some(number) = word.strip_suffix(['月', '월']) {
        return parse_number(number.as_bytes()).filter(|month| (1..=12).contains(month));
    }
    // No name of a month has a digit, and the shortest has three letters.
    if word.len() < 3 || word.len() > 24 || !word.starts_with(char::is_alphabetic) {
        return None;
    }
    let word = word.to_lowercase();
    let begins = |names: &str| names.split(' ').any(|name| word.starts_with(name));
    let index = MONTHS.iter().position(|names| begins(names))?;
    i8::try_from(index + 1).ok()
}

/// Parses the day of a month: `3`, `03`, `3.`, `3日`.
pub(super) fn day(word: &[u8]) -> Option<i8> {
    let digits = word.find_not_byteset(b"0123456789").unwrap_or(word.len());
    let (number, rest) = word.split_at(digits);
    let is_day = matches!(rest, b"" | b"." | b",") || matches!(rest.to_str(), Ok("日" | "일"));
    (is_day && (1..=2).contains(&number.len()))
        .then(|| parse_number(number))?
        .filter(|day| (1..=31).contains(day))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_of_a_month_is_parsed_in_many_languages() {
        for (names, expected) in [
            ("Jan ene. gen янв 1月 1월 Oca", 1),
            ("févr. Mär fev", 0),
            ("Mar mars März Mär Mrz mrt мар 3月", 3),
            ("avril abr. апр Nis kwi", 4),
            ("Mai mei mag maj мая", 5),
            ("juin jun. giu чер cze июн", 6),
            ("juil. jul lug июл lip", 7),
            ("août ago авг sie 8月 Ağu", 8),
            ("Dez déc. dic дек 12月 ara", 12),
        ] {
            for name in names.split(' ').filter(|_| expected > 0) {
                assert_eq!(month(name.as_bytes()), Some(expected), "{name}");
            }
        }
        for word in ["", "13月", "host", "kernel:", "kern.warn", "23"] {
            assert_eq!(month(word.as_bytes()), None, "{word}");
        }
    }
}
