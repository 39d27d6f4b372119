# 64 clients inserting: throughput as a part of the untracked one.
if (kind eq 'svg') set terminal svg size 900,420 background rgb 'white' font 'sans,12'
if (kind eq 'png') set terminal png size 900,420 font ',11'
set output target
set title '64 clients, single-row inserts: transactions a second, untracked = 1  (case/listeners)'
set termoption noenhanced
set style data histogram
set style fill solid 0.8
set boxwidth 0.8
set yrange [0:1.1]
set grid ytics
set xtics rotate by -35
unset key
plot bars using 2:xtic(1) linecolor rgb '#2060a0', '' using 0:($2 + 0.03):(sprintf('%.2f', $2)) with labels
