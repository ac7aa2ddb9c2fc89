package org.msdedge.demo

import android.app.Activity
import android.view.View
import android.widget.AdapterView
import android.widget.ArrayAdapter
import android.widget.Spinner
import android.widget.Switch

/** The lists of bundles, variants and thread counts, and the switch of the GPU. */
internal class Chooser(private val activity: Activity) {
    private var screen = Screen()
    private val threads = generateSequence(1) { it * 2 }.takeWhile { it == 1 || it <= Runtime.getRuntime().availableProcessors() }.toList()

    /** Calls [chosen] when the user has chosen something else. */
    fun listen(chosen: (Choice) -> Unit) {
        fun offer(choice: Choice) {
            if (choice != screen.choice) chosen(choice)
        }
        onSelected(R.id.bundle) { place ->
            val name = screen.bundles.getOrNull(place)
            if (name != screen.choice.bundle) offer(screen.choice.copy(bundle = name, variant = null, point = null))
        }
        onSelected(R.id.variant) { place -> offer(screen.choice.copy(variant = screen.variants.getOrNull(place))) }
        onSelected(R.id.threads) { place -> offer(screen.choice.copy(threads = threads[place])) }
        activity.view<Switch>(R.id.gpu).setOnClickListener { offer(screen.choice.copy(gpu = (it as Switch).isChecked)) }
    }

    fun render(screen: Screen) {
        this.screen = screen
        fill(R.id.bundle, screen.bundles, screen.choice.bundle)
        fill(R.id.variant, screen.variants, screen.choice.variant)
        fill(R.id.threads, threads.map { activity.resources.getQuantityString(R.plurals.threads, it, it) }, null)
        activity.view<Spinner>(R.id.threads).setSelection(threads.indexOf(screen.choice.threads).coerceAtLeast(0))
        val gpu = activity.view<Switch>(R.id.gpu)
        gpu.visibility = if (screen.hasGpu || screen.choice.gpu) View.VISIBLE else View.GONE
        gpu.isChecked = screen.choice.gpu
    }

    private fun fill(id: Int, items: List<String>, chosen: String?) {
        val spinner = activity.view<Spinner>(id)
        val adapter = spinner.adapter
        val shown = List(adapter?.count ?: 0) { adapter.getItem(it) }
        if (shown != items) {
            val made = ArrayAdapter(activity, android.R.layout.simple_spinner_item, items)
            made.setDropDownViewResource(android.R.layout.simple_spinner_dropdown_item)
            spinner.adapter = made
        }
        spinner.visibility = if (items.isEmpty()) View.GONE else View.VISIBLE
        val place = items.indexOf(chosen)
        if (place >= 0 && spinner.selectedItemPosition != place) spinner.setSelection(place)
    }

    private fun onSelected(id: Int, selected: (Int) -> Unit) {
        activity.view<Spinner>(id).onItemSelectedListener = object : AdapterView.OnItemSelectedListener {
            override fun onItemSelected(parent: AdapterView<*>, view: View?, place: Int, row: Long) = selected(place)

            override fun onNothingSelected(parent: AdapterView<*>) = Unit
        }
    }
}
