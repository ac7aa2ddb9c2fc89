package org.msdedge.cascade.bench

/** A growing list of milliseconds without boxes; kept to a tenth of a microsecond. */
class Doubles {
    private var values = DoubleArray(256)
    var size = 0
        private set

    fun add(value: Double) {
        if (size == values.size) values = values.copyOf(size * 2)
        values[size++] = Math.round(value * 1e4) / 1e4
    }

    fun toArray(): DoubleArray = values.copyOf(size)
}
