/** Stands in for Gradle: whatever a build file calls or sets becomes a line `path=value`. */
class Recorder {
    String path = ''
    List<String> lines

    private String under(String name) { path ? "${path}.${name}" : name }

    Object methodMissing(String name, Object arguments) {
        List given = arguments as List
        Closure inner = given && given[-1] instanceof Closure ? given.removeLast() as Closure : null
        lines << "${under(name)}=${given.join(',')}".toString()
        Recorder deeper = new Recorder(path: under(name), lines: lines)
        if (inner != null) {
            inner.delegate = deeper
            inner.resolveStrategy = Closure.DELEGATE_FIRST
            inner()
        }
        return given ? new Recorder(path: "${under(name)}=${given.join(',')}", lines: lines) : deeper
    }

    Object propertyMissing(String name) { new Recorder(path: under(name), lines: lines) }

    void propertyMissing(String name, Object value) { lines << "${under(name)}=${value}".toString() }

    Object plus(Object value) { value }

    String toString() { path }
}

abstract class RecordedBuild extends Script {
    List<String> lines = []

    Object methodMissing(String name, Object arguments) { new Recorder(lines: lines).methodMissing(name, arguments) }

    Object propertyMissing(String name) { new Recorder(path: name, lines: lines) }
}
