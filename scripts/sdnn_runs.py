"""What the accuracy scripts share: sdnn called for its JSON result, and runs in a work folder that go on where they stopped."""
import json, os, subprocess, sys


class Work:
    """A folder of runs of one sdnn program."""

    def __init__(self, folder, program):
        self.folder, self.program = folder, program
        os.makedirs(folder, exist_ok=True)

    def sdnn(self, *args):
        """Runs a verb and returns its result; a failure ends the script."""
        p = subprocess.run([self.program, *args, '--json', '--quiet'], stdout=subprocess.PIPE, text=True)
        if p.returncode:
            sys.exit(f'sdnn {" ".join(args)}: status {p.returncode}')
        lines = [l for l in p.stdout.splitlines() if l.startswith('{')]
        return json.loads(lines[-1]) if lines else {}

    def train(self, name, *args):
        """Trains the run of a name and returns its folder. What is finished is not done again."""
        run = os.path.join(self.folder, name)
        again = ['--resume'] if os.path.exists(run) else []
        self.sdnn('train', '--out', run, *args, *again)
        return run

    def evaluate(self, run, store, *args):
        """Evaluates a run on the test split."""
        return self.sdnn('eval', '--run', run, '--data', store, '--split', 'test', *args)

    def video_store(self, train, test):
        """Ingests YouTube-8M shards, once, and returns the store."""
        store = os.path.join(self.folder, 'store')
        if not os.path.exists(os.path.join(store, 'manifest.json')):
            self.sdnn('ingest', 'yt8m', '--out', store, '--split', 'train', train)
            self.sdnn('ingest', 'yt8m', '--out', store, '--split', 'test', test)
        return store
