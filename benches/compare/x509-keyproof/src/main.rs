mod task;

fn main() {
    timing::run(task::task);
}
