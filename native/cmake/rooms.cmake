# The rooms of README.md: what is compiled for one finds its own headers and those of the rooms that its line of the table
# names, and no others. Each room lies by itself under rooms/ of the build folder, as a link to its folder, since the
# sources name a header with its folder.
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/README.md)
file(STRINGS README.md lines REGEX "^[a-z/]+:( [a-z/]+)*$")
foreach(line ${lines})
	string(REGEX MATCHALL "[a-z/]+" rooms "${line}")
	list(GET rooms 0 room)
	set(scope)
	foreach(name ${rooms})
		string(REPLACE / - folder rekindle-${name})
		if(name STREQUAL include) # whose header is named as programs name it
			string(APPEND folder /include)
		endif()
		list(APPEND scope ${CMAKE_BINARY_DIR}/rooms/${folder})
	endforeach()
	set(rekindle_scope_of_${room} ${scope})
	string(REPLACE / - folder rekindle-${room})
	get_filename_component(parent ${CMAKE_BINARY_DIR}/rooms/${folder}/${room} DIRECTORY)
	file(MAKE_DIRECTORY ${parent})
	file(CREATE_LINK ${CMAKE_CURRENT_SOURCE_DIR}/${room} ${CMAKE_BINARY_DIR}/rooms/${folder}/${room} SYMBOLIC)
endforeach()

# Gives a target the scope of the room that it is compiled for.
function(rekindle_scope target room)
	if(NOT rekindle_scope_of_${room})
		message(FATAL_ERROR "${room} is no room of README.md")
	endif()
	set_property(TARGET ${target} PROPERTY INCLUDE_DIRECTORIES ${rekindle_scope_of_${room}})
endfunction()

# The room of the folder that calls this, as an object library: pool/run is rekindle-pool-run. The archive or the library
# of the part takes it in with rekindle_take.
function(rekindle_room)
	file(RELATIVE_PATH room ${CMAKE_SOURCE_DIR} ${CMAKE_CURRENT_SOURCE_DIR})
	string(REPLACE / - target rekindle-${room})
	add_library(${target} OBJECT ${ARGN})
	rekindle_scope(${target} ${room})
endfunction()

# rekindle_take(TARGET ROOM...): the objects of the rooms become part of the target.
function(rekindle_take target)
	foreach(room ${ARGN})
		string(REPLACE / - objects rekindle-${room})
		target_sources(${target} PRIVATE $<TARGET_OBJECTS:${objects}>)
	endforeach()
endfunction()
