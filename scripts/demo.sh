#!/usr/bin/env bash
# The main job end to end on real handwritten digits: train, export, calibrate, bench, report, predict.
# Everything goes to demo/; run it again and it starts anew there.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh" all
mkdir -p demo
cd demo
# Networks this small gain nothing by a second thread and lose much by it where the machine has other work.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
start=$(date +%s)
show() { printf '\n$ %s\n' "$*"; "$@"; }
show msd-edge train --data digits --arch resnet20 --exits-at 1:1,2:1 --epochs 25 --overwrite
show msd-edge export --int8 --target tflite --target onnx --overwrite
show msd-edge calibrate
show msd-edge bench --seconds 3 --overwrite
show msd-edge report --overwrite
show python ../scripts/demo_images.py bundles/resnet20-digits images
show msd-edge predict bundles/resnet20-digits images
printf '\nall of it in %d s; open demo/report.html, or go on:\n' $(($(date +%s) - start))
printf '  source %s/bin/activate && cd demo && msd-edge --help\n' "$venv"
printf 'demo/images holds test images, named by what they show, for `msd-edge predict bundles/resnet20-digits IMAGE`.\n'
