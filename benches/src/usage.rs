//! What the system counts for a process (proc(5), Linux). A process is named by its number, or `self`.

use std::fs;

use crate::Result;

/// Clock ticks per second in proc(5)'s counts: `USER_HZ`, which Linux fixes at 100 for user space.
const TICKS_A_SECOND: f64 = 100.0;

/// Returns the resident memory (`VmRSS`), in KiB.
pub fn resident_kib(process: &str) -> Result<u64> {
    number(process, "status", "VmRSS:")
}

/// Returns the bytes that it has caused to be written to disk (`write_bytes`).
pub fn written_bytes(process: &str) -> Result<u64> {
    number(process, "io", "write_bytes:")
}

/// Returns the processor time used, in user mode and in the kernel (`utime` and `stime`), in seconds.
pub fn processor_time(process: &str) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name, in parentheses, may contain blanks; `state` is the first field after it, `utime` the twelfth.
    let (_, fields) = stat.rsplit_once(')').ok_or("no name in stat")?;
    let times = fields.split_whitespace().skip(11).take(2);
    let ticks = times.map(str::parse::<f64>).sum::<Result<f64, _>>()?;
    Ok(ticks / TICKS_A_SECOND)
}

/// Returns the number after a name at the start of a line.
fn number(process: &str, file: &str, name: &str) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/{file}"))?;
    let rest = text.lines().find_map(|line| line.strip_prefix(name));
    let number = rest.and_then(|rest| rest.split_whitespace().next());
    Ok(number.ok_or_else(|| format!("no {name}"))?.parse()?)
}
