package tracefs

// In tests, whose directories are small, little is a habit: so the property test is of what is given ahead, too.
func init() { habitual = 3 }
