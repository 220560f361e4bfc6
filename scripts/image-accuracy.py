#!/usr/bin/python3
"""Error rates of plain and subclass training on images, as rows of a Markdown table.

    make build && scripts/image-accuracy.py --data STORE --work WORK --net wrn-10-2 --epochs 40 --neglect-epochs 7 --neglected 2 --seeds 1,2,3

STORE is an ingested cifar10, cifar100 or svhn store with a train and a test split. Trains the net plain and with --subclass for
each seed on the whole train split (a run that is finished is not run again, one that was interrupted resumes), the
learning rate falling to a fifth after 30, 60 and 80 % of the epochs, and evaluates both once, the subclass run with
--against the plain run of its seed. Prints error rates, and the mean accuracy of the classes that stage 1 called neglected and of the rest.
"""
import argparse, statistics

from sdnn_runs import Work

ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
ap.add_argument('--data', required=True)
ap.add_argument('--work', required=True)
ap.add_argument('--net', default='wrn-10-2')
ap.add_argument('--epochs', type=int, default=40)
ap.add_argument('--neglect-epochs', default='7')
ap.add_argument('--neglected', default='2')
ap.add_argument('--seeds', default='1,2,3')
ap.add_argument('--variants', default='subclass', help='comma-separated: subclass, random (a random split instead of k-means), plain (plain runs only)')
ap.add_argument('--sdnn', default='bin/sdnn')
a = ap.parse_args()
work = Work(a.work, a.sdnn)


def train(seed, tag):
    at = ','.join(str(max(1, round(a.epochs * f))) for f in (0.3, 0.6, 0.8))
    args = ['--data', a.data, '--net', a.net, '--epochs', str(a.epochs), '--schedule', f'step:0.2@{at}', '--seed', seed,
            '--lr', '0.1', '--validate-fraction', '0']
    if tag != 'plain':
        args += ['--subclass', '--neglected', a.neglected, '--neglect-epochs', a.neglect_epochs]
    if tag == 'random':
        args += ['--split', 'random']
    return work.train(f'{a.net}-{tag}-{seed}', *args)


print('| net | seed | plain: error % (top 5) | split | error % (top 5) | neglected classes: mean accuracy % plain -> split | the rest: plain -> split |')
print('|---|---|---|---|---|---|---|', flush=True)
rates = {}
for seed in a.seeds.split(','):
    plain = train(seed, 'plain')
    p = work.evaluate(plain, a.data)
    rates.setdefault('plain', []).append(p['error_rate'])
    before = f"{100*p['error_rate']:.2f} ({100*p['top5_error_rate']:.2f})"
    if a.variants == 'plain':
        print(f'| {a.net} | {seed} | {before} | | | | |', flush=True)
        continue
    for tag in a.variants.split(','):
        s = work.evaluate(train(seed, tag), a.data, '--against', plain)
        rates.setdefault(tag, []).append(s['error_rate'])
        n0, n1, r0, r1 = (100 * s['against'][part][when] for part in ('neglected', 'rest') for when in ('before', 'after'))
        print(f"| {a.net} | {seed} | {before} | {tag} | {100*s['error_rate']:.2f} ({100*s['top5_error_rate']:.2f}) | {n0:.2f} -> {n1:.2f} | {r0:.2f} -> {r1:.2f} |", flush=True)
print('means: ' + ', '.join(f'{tag} {100*statistics.mean(v):.2f} %' for tag, v in rates.items()))
